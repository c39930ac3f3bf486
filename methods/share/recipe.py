"""Training recipe: the base, then every sub-task in four phases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from harness.backbones.shapes import SWINS, VITS
from harness.data.augment import Augmentation
from harness.data.sample import Batch
from harness.method import Budget, MultiTaskModel, Optimizer, ParameterGroup, Schedule, Stage, TrainingOutput
from harness.methods.share.delta import Phase
from harness.methods.share.execution import Activations, Hidden
from harness.methods.share.training import DropsPaths, SubTaskOutput, TrainedNets
from harness.training.recipes import (
    ENCODER_LR,
    HEAD_LR,
    MEDIUM_BATCH,
    MEDIUM_STEPS,
    QUICK_BATCH,
    QUICK_STEPS,
    single_network,
    supervised_stage,
)


@dataclass(frozen=True)
class HyperParameters:
    """Hyper-parameters of a sub-task's training.

    Attributes:
        iterations: Steps of each phase.
        batch_size: Images per step.
        lr: Peak learning rate of the differences, and of the head unless it has one of its own.
        late_lr: The same once the mask is fixed and trained: in the phases ``activations`` and ``rows``.
        l0: Weight of the expected L0 norm of the gates.
        matching: Weight of the activation-matching loss, the mean absolute difference from the base's activations.
        head_lr: Peak learning rate of the head; None for that of the differences.
    """

    iterations: Mapping[Phase, int]
    batch_size: int
    lr: float
    late_lr: float
    l0: float
    matching: float
    head_lr: float | None = None


_PAPER_STEPS: Mapping[Phase, int] = {"gates": 120_000, "mask": 120_000, "activations": 52_000, "rows": 52_000}
"""900 epochs of PASCAL-Context in batches of 24 end at the 120 000 steps the released schedule was made for; 250
epochs are 52 000. The last phase is ours and takes as long as the one before it."""

_PAPER: Mapping[str, HyperParameters] = {
    "parts": HyperParameters(_PAPER_STEPS, 24, 2e-5, 2e-5, l0=5e-8, matching=0.2),
    "saliency": HyperParameters(_PAPER_STEPS, 24, 2e-5, 5e-6, l0=1.25e-8, matching=0.2),
    "boundary": HyperParameters(_PAPER_STEPS, 24, 2e-5, 1e-5, l0=1.25e-8, matching=0.4),
    "normals": HyperParameters(_PAPER_STEPS, 24, 1e-4, 5e-5, l0=5e-8, matching=0.13),
}
"""Per task, from the released scripts (Shoouri et al., ICCV 2023); the weight of the activation-matching loss is
theirs, which multiplies a sum over activations, turned into one of a mean. Normals train with 25 images per device
there."""

_PAPER_OTHER = HyperParameters(_PAPER_STEPS, 24, 2e-5, 2e-5, l0=5e-8, matching=0.2)
"""For tasks without a released script (depth, and segmentation where another task is the base)."""

_FRACTIONS: Mapping[Phase, float] = {"gates": 0.15, "mask": 0.4, "activations": 0.05, "rows": 0.4}
"""Of the steps of a sub-task, by phase, in the budgets of this project: together they see as many images as a network
that is trained alone."""


def _ours(budget: Budget, phases: Sequence[Phase]) -> HyperParameters:
    """Return the hyper-parameters of the quick and the medium budget; the phases share the steps of a task."""
    steps, batch = (QUICK_STEPS, QUICK_BATCH) if budget == "quick" else (MEDIUM_STEPS, MEDIUM_BATCH)
    # Cumulative sums, rounded, so that the parts add up to the whole.
    sums = list(accumulate(_FRACTIONS[phase] for phase in phases))
    ends = [round(steps * fraction / sums[-1]) for fraction in sums]
    iterations = {phase: end - start for phase, start, end in zip(phases, [0, *ends], ends, strict=False)}
    rate = 2 * ENCODER_LR if budget == "quick" else 2e-4
    head = HEAD_LR if budget == "quick" else 1e-3
    return HyperParameters(iterations, batch, rate, rate / 2, l0=5e-8, matching=0.05, head_lr=head)


_GATE_LR = 0.1
"""Learning rate of the gates' logits in the released code, where decay is left out on purpose: it would fix the density
by itself."""

_TOKEN_MATCHING = 0.5
"""Weight of the loss on whole tokens, as a fraction of the element-wise one. Ours: tokens are what is skipped."""


def stages(tasks: tuple[str, ...], base_task: str, backbone: str, budget: Budget, gated: bool) -> list[Stage]:
    """Return the recipe of all tasks.

    Args:
        tasks: The base task first.
        base_task: Task that all others share.
        backbone: Name of the encoder.
        budget: ``full`` is the paper's; ``quick`` and ``medium`` are ours.
        gated: Whether tokens will be gated, so that training gets used to it.
    """
    subs = [task for task in tasks if task != base_task]
    phases: list[Phase] = ["gates", "mask", "activations", *(["rows"] if gated else [])]  # type: ignore[list-item]
    recipe = [base_stage(base_task, backbone, budget)]  # sub-tasks need the base and not each other
    for task in subs:
        hyper = _PAPER.get(task, _PAPER_OTHER) if budget == "full" else _ours(budget, phases)
        before = base_task
        for phase in phases:
            recipe.append(replace(_sub_stage(task, phase, hyper, budget), after=(before,)))
            before = recipe[-1].name
    return recipe


def base_stage(task: str, backbone: str, budget: Budget) -> Stage:
    """Return the dense training of the base: the paper's step 1, or the recipe of the baselines in the budgets of ours.

    The stage is called like the one of the single-task baseline, so that it sees the same images in the same order.
    """
    trainable = ("base.", f"heads.{task}.")
    network = single_network("base.", f"heads.{task}.")
    if budget != "full":
        return supervised_stage(task, (task,), budget, trainable, network)
    return Stage(
        task,
        (task,),
        iterations=125_000,  # 400 epochs of PASCAL-Context in batches of 16
        batch_size=16,
        optimizer=Optimizer("adamw", lr=2e-5, weight_decay=1e-6),
        schedule=Schedule("cosine", warmup=312),  # one epoch
        trainable=trainable,
        groups=tuple(_layer_decay(backbone, lr=2e-5, decay=0.75)),
        prepare=partial(_drop_paths, rate=0.1),
    )


def _layer_decay(backbone: str, lr: float, decay: float) -> list[ParameterGroup]:
    """Return groups whose learning rate shrinks from the last block to the embedding (Bao et al., ICLR 2022)."""
    # lr_i = lr decay^(depth - i) for block i, and one power more for the embedding
    blocks: list[tuple[str, ...]] = []
    if backbone in VITS:
        blocks += [(f"base.vit.blocks.{index}.",) for index in range(VITS[backbone].depth)]
        embedding: tuple[str, ...] = ("base.vit.patch_embed.", "base.vit.cls_token", "base.vit.pos_embed")
    else:  # the merging of tokens learns as the block before it
        embedding = ("base.patch_embed.",)
        for stage, depth in enumerate(SWINS[backbone].depths):
            blocks += [(f"base.layers.{stage}.blocks.{index}.",) for index in range(depth)]
            blocks[-1] += (f"base.layers.{stage}.downsample.",)
    depth = len(blocks)
    groups = [ParameterGroup(prefixes, lr * decay ** (depth - index)) for index, prefixes in enumerate(blocks)]
    return [ParameterGroup(embedding, lr * decay ** (depth + 1)), *groups]


def _drop_paths(model: MultiTaskModel, rate: float) -> None:
    assert isinstance(model, DropsPaths)
    model.drop_path = rate


def learning_rate(task: str) -> float:
    """Return the peak learning rate of a sub-task in the paper's recipe."""
    return _PAPER.get(task, _PAPER_OTHER).lr


def _sub_stage(task: str, phase: Phase, hyper: HyperParameters, budget: Budget) -> Stage:
    """Return one phase of a sub-task; the base is frozen in all of them."""
    quick = budget != "full"
    lr = hyper.lr if phase in ("gates", "mask") else hyper.late_lr
    learned = [f"deltas.{task}.weights.", f"heads.{task}."]
    if phase == "gates":
        learned += [f"deltas.{task}.logits.", f"deltas.{task}.tensor_logits."]
    gates = (f"deltas.{task}.logits.", f"deltas.{task}.tensor_logits.")
    groups = [ParameterGroup(gates, _GATE_LR, weight_decay=0.0)]
    if hyper.head_lr is not None:
        groups.append(ParameterGroup((f"heads.{task}.",), hyper.head_lr * lr / hyper.lr))
    return Stage(
        f"{phase}/{task}",
        (task,),
        iterations=hyper.iterations[phase],
        batch_size=hyper.batch_size,
        # Where only the L0 penalty acts, gradients are near 1e-8: a larger eps would decide the step, not the rate.
        optimizer=Optimizer("adamw", lr=lr, weight_decay=1e-6, eps=1e-12 if phase == "gates" else 1e-8),
        schedule=Schedule("cosine", warmup=10) if quick else Schedule("poly", power=0.9),
        augmentation=Augmentation.light() if quick else Augmentation(),
        trainable=tuple(learned),
        groups=tuple(groups),
        clip_norm=60.0 if phase == "activations" else 10.0,
        terms=Penalties(hyper.l0, hyper.matching) if phase in ("gates", "activations") else None,
        prepare=None if phase == "gates" else partial(_enter, task=task, phase=phase),
    )


def _enter(model: MultiTaskModel, task: str, phase: Phase) -> None:
    """Begin a phase; the mask is binarised at the end of the phase of the gates."""
    assert isinstance(model, TrainedNets)
    delta = model.learned(task)
    if phase == "mask":
        delta.binarise(model.options.density, model.countable)
    delta.phase = phase


@dataclass(frozen=True)
class Penalties:
    """Auxiliary losses that make a sub-task sparse.

    Attributes:
        l0: Weight of the expected L0 norm, while gates are learned.
        matching: Weight of the activation-matching loss, in its phase.
    """

    l0: float
    matching: float

    def __call__(self, model: MultiTaskModel, batch: Batch, output: TrainingOutput) -> dict[str, Tensor]:
        """Return the auxiliary losses of the phase."""
        assert isinstance(output, SubTaskOutput)
        if output.delta.phase == "gates":
            return {"expected L0 norm": self.l0 * output.delta.expected_l0_norm()}
        assert output.own is not None
        assert output.base is not None
        own, base = output.own, output.base
        elements = torch.stack(
            [_element_loss(own.activations[i], own.hidden[i], base.activations[i], base.hidden[i]) for i in own.hidden]
        )
        tokens = torch.stack([_token_loss(own.activations[i], base.activations[i]) for i in own.hidden])
        return {
            "elements": self.matching * elements.mean(),
            "tokens": self.matching * _TOKEN_MATCHING * tokens.mean(),
        }


def _element_loss(own: Activations, own_hidden: Hidden, base: Activations, base_hidden: Hidden) -> Tensor:
    """Return the mean absolute difference at the paper's six places of a block."""
    pairs = [
        (own.norm1, base.norm1),
        (own.qkv, base.qkv),
        (own.proj, base.proj),
        (own_hidden.fc1, base_hidden.fc1),
        (own_hidden.act, base_hidden.act),
        (own.fc2, base.fc2),
    ]
    # sum of |a_s - a_b| over all places, divided by all their elements: wide places count for more
    total = torch.stack([(ours - theirs).abs().sum() for ours, theirs in pairs]).sum()
    return total / sum(ours.numel() for ours, _ in pairs)


def _token_loss(own: Activations, base: Activations) -> Tensor:
    """Return the mean root mean square change of a token at the gated inputs (L2,1 norm over tokens)."""
    pairs = [(own.norm1, base.norm1), (own.context, base.context), (own.norm2, base.norm2)]
    # The gradient of the square root is infinite at 0; 1e-12 is far below any change that matters.
    changes = [((ours - theirs).square().mean(-1) + 1e-12).sqrt().mean() for ours, theirs in pairs]
    return torch.stack(changes).mean()
