"""The contract of a method: one way to serve all tasks, as a single class in a single file."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.data.augment import Augmentation
from harness.data.sample import Batch
from harness.errors import UsageError
from harness.problem import Problem, TaskSpec

Budget = Literal["quick", "full"]
Predictions = dict[str, Tensor]
"""Task name to raw map [B, C, H, W] at input size."""


@dataclass(frozen=True)
class TrainingOutput:
    """What a model returns while training.

    Attributes:
        predictions: The final predictions.
        intermediate: Further predictions that are supervised with the same losses and weights,
            for example those before a cross-task decoder.
    """

    predictions: Predictions
    intermediate: tuple[Predictions, ...] = ()


class MultiTaskModel(nn.Module, ABC):
    """A network, or several, that predicts every task of a problem.

    Args:
        problem: The tasks and the input size.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    @abstractmethod
    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict.

        Args:
            images: Normalised RGB, [B, 3, H, W] at ``problem.input_size``.
            tasks: Tasks to predict; None for all. Nothing is computed that they do not need.

        Returns:
            Raw maps at input size: semseg and parts [B, classes, H, W], saliency [B, 2, H, W], normals
            [B, 3, H, W], depth and boundary [B, 1, H, W].
        """

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict while training; models with intermediate predictions override this."""
        return TrainingOutput(self(images, tasks))

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the modules that parameters and costs are reported for, disjoint, by name."""
        return dict(self.named_children())


@dataclass(frozen=True)
class Optimizer:
    """The optimiser of a stage.

    Attributes:
        name: ``adamw``, ``adam`` or ``sgd``.
        lr: Peak learning rate.
        weight_decay: Decay of matrices and kernels; biases, norms and other vectors have none.
        momentum: First-moment decay (SGD momentum, Adam's beta 1).
        beta2: Second-moment decay of Adam.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a stage, as a factor of the peak.

    Attributes:
        name: ``poly``: (1 - i/n)**power; ``cosine``: half a cosine to zero; ``constant``.
        power: Exponent of ``poly``.
        warmup: Iterations of linear warm-up from zero before it.
    """

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup: int = 0


Objective = Callable[[MultiTaskModel, Batch, TrainingOutput], dict[str, Tensor]]
"""Further loss terms of a stage by name, each already weighted; they are added to the tasks' losses."""


@dataclass(frozen=True)
class Stage:
    """One phase of training, as data: what trains, on which losses, how long. The loop is the engine's.

    Attributes:
        name: Shown in progress bars and records.
        tasks: Tasks that are predicted and supervised.
        iterations: Optimiser steps.
        batch_size: Images per step.
        optimizer: Optimiser and peak learning rate.
        schedule: Learning rate over the stage.
        augmentation: Training-time transforms.
        trainable: Prefixes of the parameter names that train; all others are frozen.
        clip_norm: Largest norm of the gradient; None for no clipping.
        terms: Further loss terms; None for the tasks' losses alone.
        prepare: Called once before the stage, to change the model (freeze a mask, copy weights).
    """

    name: str
    tasks: tuple[str, ...]
    iterations: int
    batch_size: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    trainable: tuple[str, ...] = ("",)
    clip_norm: float | None = None
    terms: Objective | None = None
    prepare: Callable[[MultiTaskModel], None] | None = None


class MethodOptions(BaseModel):
    """Base of a method's options: its fields are the keys of ``--set key=value``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(ABC):
    """A way to serve all tasks of a problem.

    Args:
        options: The method's options, an instance of ``Options``.
        backbone: Name of the encoder, a key of `harness.backbones`.
        pretrained: Whether encoders start from their published weights.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for ``harness ls methods``."""
    paper: ClassVar[str | None] = None
    """Citation of the paper the method comes from."""
    is_reference: ClassVar[bool] = False
    """Whether the method's row is what the multi-task gain is measured against."""
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(self, options: MethodOptions, backbone: str, pretrained: bool = False) -> None:
        self.options = options
        self.backbone = backbone
        self.pretrained = pretrained

    @abstractmethod
    def build(self, problem: Problem) -> MultiTaskModel:
        """Return an untrained model for ``problem``."""

    @abstractmethod
    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return the training recipe of a budget."""

    def save(self, model: MultiTaskModel, folder: Path) -> None:
        """Write the deployable artifact into ``folder``, which exists and is empty.

        Its files are what must be shipped to serve all tasks, so their bytes are the storage figure.
        The default writes every parameter and buffer as it is.
        """
        save_file(model.state_dict(), folder / "model.safetensors")
        self.write_manifest(model.problem, folder)

    def load(self, folder: Path) -> MultiTaskModel:
        """Return the model of an artifact that `save` wrote.

        Raises:
            UsageError: the folder is no artifact, is damaged, or does not fit this method.
        """
        untrained = type(self)(self.options, self.backbone)  # published weights would be fetched to be overwritten
        model = untrained.build(read_manifest(folder).problem())
        path = folder / "model.safetensors"
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(f"artifact {folder}: {path.name} cannot be read ({error}); save it again") from error
        load_exactly(model, state, source=str(path))
        return model

    def write_manifest(self, problem: Problem, folder: Path) -> None:
        """Write ``artifact.json``: what is needed to build the model again."""
        manifest = Manifest(
            format=1,
            method=self.name,
            backbone=self.backbone,
            options=self.options.model_dump(mode="json"),
            input_size=problem.input_size,
            tasks=[asdict(task) for task in problem],
        )
        (folder / "artifact.json").write_text(manifest.model_dump_json(indent=1) + "\n")


class Manifest(BaseModel):
    """Contents of an artifact's ``artifact.json``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    method: str
    backbone: str
    options: dict[str, Any]
    input_size: tuple[int, int]
    tasks: list[dict[str, Any]]

    def problem(self) -> Problem:
        """Return the problem the artifact was trained for."""
        tasks = tuple(TaskSpec(**(task | {"class_names": tuple(task.get("class_names", ()))})) for task in self.tasks)
        return Problem(tasks, self.input_size)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the manifest in ``text``."""
        return cls.model_validate(json.loads(text))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an artifact folder.

    Raises:
        UsageError: the folder holds no artifact of a known format.
    """
    path = folder / "artifact.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no artifact: it has no artifact.json")
    try:
        return Manifest.parse(path.read_text())
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"artifact {folder}: artifact.json is damaged or of another version ({reason})") from error


def load_exactly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``model``, refusing anything but the very same keys and shapes.

    Raises:
        UsageError: keys are missing or unexpected, or shapes differ; the message names the first of each.
    """
    own = model.state_dict()
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape),
    }
    found = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in faults.items() if keys]
    if found:
        raise UsageError(f"{source} does not fit this model: {'; '.join(found)}")
    model.load_state_dict(state)
