"""A training recipe as data: stages with their optimiser, schedule and losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # budgets are listed by the command line, which does not wait for torch
    from torch import Tensor

    from harness.data.augment import Augmentation
    from harness.data.sample import Batch
    from harness.model import MultiTaskModel, TrainingOutput

Budget = Literal["quick", "medium", "full"]

Overwrite = Literal["never", "always", "only-missing"]
"""Runs that are there already: an error, run again, or read."""


@dataclass(frozen=True)
class Optimizer:
    """The optimiser of a stage.

    Attributes:
        name: ``adamw``, ``adam`` or ``sgd``.
        lr: Peak learning rate.
        weight_decay: Decay of matrices and kernels; biases, norms and other vectors have none.
        momentum: First-moment decay (SGD momentum, Adam's beta 1).
        beta2: Second-moment decay of Adam.
        eps: Added to Adam's root of the second moment.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with their own learning rate and decay, on the stage's schedule.

    Attributes:
        prefixes: Prefixes of the parameter names.
        lr: Peak learning rate.
        weight_decay: Decay of matrices and kernels; None for the stage's.
    """

    prefixes: tuple[str, ...]
    lr: float
    weight_decay: float | None = None


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a stage, as a factor of the peak.

    Attributes:
        name: ``poly``: (1 - i/n)**power; ``cosine``: half a cosine to ``floor``; ``constant``.
        power: Exponent of ``poly``.
        warmup: Iterations of linear warm-up from zero before it.
        warmup_epochs: For stages that count epochs: passes over the training images of warm-up, instead of ``warmup``.
        floor: Factor at which ``cosine`` ends.
        steps: Equal parts of the stage over which the rate stays as it is at their start, for recipes that set it
            once per epoch; None to set it at every iteration.
    """

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup: int = 0
    steps: int | None = None
    warmup_epochs: int = 0
    floor: float = 0.0


Balance = Literal["uncertainty", "upgrad", "mgda", "pcgrad", "cagrad"]
"""Weights of the losses that are learned, or rules that make one gradient of those of the tasks."""


@dataclass(frozen=True)
class Aids:
    """Additions of a command to every stage of every method.

    Attributes:
        accumulate: Parts that a batch is cut into, whose gradients are added: the same batch in less memory.
        ema: Decay of averaged weights; None for none.
        balance: How losses or gradients of the tasks are balanced; None for the recipe's weights.
    """

    accumulate: int = 1
    ema: float | None = None
    balance: Balance | None = None


NO_AIDS = Aids()

Objective: TypeAlias = "Callable[[MultiTaskModel, Batch, TrainingOutput], dict[str, Tensor]]"
"""Auxiliary losses of a stage by name, each already weighted; they are added to the losses of the tasks."""

Weighting: TypeAlias = "Callable[[MultiTaskModel, Mapping[str, Tensor]], Mapping[str, Tensor]]"
"""Loss weighting: the summands that are minimised, from the model and the unweighted loss of every task."""


@dataclass(frozen=True)
class Elsewhere:
    """A stage that was trained in another artifact.

    Attributes:
        sha256: Digest of the artifact.
        macs: Multiply-accumulates of the training; None where they are not known.
    """

    sha256: str
    macs: int | None


def _augmented() -> Augmentation:
    from harness.data.augment import Augmentation

    return Augmentation()


@dataclass(frozen=True)
class Stage:
    """One phase of training, as data: trained parameters, losses, length. The loop is the engine's.

    Attributes:
        name: Shown in progress bars and records; unique within a recipe, for the random draws follow from it.
        tasks: Tasks that are predicted and supervised.
        iterations: Optimiser steps; for recipes that count epochs, what `sized` makes of ``epochs``.
        batch_size: Images per step.
        epochs: Passes over the training images, instead of ``iterations``.
        optimizer: Optimiser and peak learning rate.
        schedule: Learning rate over the stage.
        augmentation: Training-time transforms.
        trainable: Prefixes of the parameter names that train; all others are frozen.
        groups: Parameters with their own learning rate; the first that matches holds.
        clip_norm: Largest norm of the gradient; None for no clipping.
        weigh: Loss weighting, applied to intermediate predictions too; None for the fixed weights of the field.
        terms: Auxiliary losses, means over the images of a process unless summed over all (docs/methods.md); None for
            the losses of the tasks alone.
        prepare: Called once before the stage, to change the model (freeze a mask, copy weights).
        network: Prefixes of a network that this stage alone trains and needs, to the names it has in every method: of
            an encoder with one head, ``{"base.": "backbone.", "heads.depth.": "decoder."}``. The same stage on the same
            network is then trained once for all methods of a results folder. Empty for stages that are never shared.
        holds_out: Whether the training images that calibration scores on are left out; see `held_out`.
        after: Stages whose results this one starts from; those that do not need each other can be trained side by side,
            each keeping what it changed of the model. None for all stages that stand before it.
        elsewhere: The training of another artifact, which is counted as this one's effort and not run. None for all
            stages of the model itself.
    """

    name: str
    tasks: tuple[str, ...]
    iterations: int
    batch_size: int
    epochs: int | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=_augmented)
    trainable: tuple[str, ...] = ("",)
    groups: tuple[ParameterGroup, ...] = ()
    clip_norm: float | None = None
    weigh: Weighting | None = None
    terms: Objective | None = None
    prepare: Callable[[MultiTaskModel], None] | None = None
    network: Mapping[str, str] = field(default_factory=dict)
    holds_out: bool = False
    elsewhere: Elsewhere | None = None
    after: tuple[str, ...] | None = None

    def sized(self, images: int) -> Stage:
        """Return the stage with its iterations, given the number of training images; partial batches are left out.

        Example:
            >>> Stage("joint", ("depth",), iterations=0, batch_size=6, epochs=2).sized(795).iterations
            264
        """
        if self.epochs is None:
            return self
        per_epoch = max(1, images // self.batch_size)
        schedule = self.schedule
        if schedule.warmup_epochs:
            schedule = replace(schedule, warmup=schedule.warmup_epochs * per_epoch)
        return replace(self, iterations=self.epochs * per_epoch, schedule=schedule)


def held_out(images: int) -> int:
    """Return the number of training images that stages which hold some out do not see: the first tenth, at most 64.

    Example:
        >>> held_out(795), held_out(160), held_out(3)
        (64, 16, 0)
    """
    return min(64, images // 10)
