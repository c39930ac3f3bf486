"""The training recipe: the base, then every sub-task beside it in four steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from harness.data.augment import Augmentation
from harness.data.sample import Batch
from harness.method import Budget, MultiTaskModel, Optimizer, ParameterGroup, Schedule, Stage, TrainingOutput
from harness.methods.share.delta import LearnedDelta, Phase
from harness.methods.share.execution import Activations, Hidden
from harness.methods.share.model import SharedNets, SubRun
from harness.training.recipes import supervised_stage


@dataclass(frozen=True)
class Pace:
    """How a sub-task is trained.

    Attributes:
        iterations: Steps of each phase.
        batch_size: Images per step.
        lr: Peak learning rate of weights and head.
        late_lr: The same once the mask is fixed and trained: in the phases ``activations`` and ``rows``.
        l0: Weight of the expected number of open gates.
        pull: Weight of the mean absolute difference from the base's activations.
    """

    iterations: Mapping[Phase, int]
    batch_size: int
    lr: float
    late_lr: float
    l0: float
    pull: float


_PAPER_STEPS: Mapping[Phase, int] = {"gates": 120_000, "mask": 120_000, "activations": 52_000, "rows": 52_000}
"""900 epochs of PASCAL-Context in batches of 24 end at the 120 000 steps the released schedule was made for; 250
epochs are 52 000. The last phase is ours and takes as long as the one before it."""

_PAPER: Mapping[str, Pace] = {
    "parts": Pace(_PAPER_STEPS, 24, 2e-5, 2e-5, l0=5e-8, pull=0.2),
    "saliency": Pace(_PAPER_STEPS, 24, 2e-5, 5e-6, l0=1.25e-8, pull=0.2),
    "boundary": Pace(_PAPER_STEPS, 24, 2e-5, 1e-5, l0=1.25e-8, pull=0.4),
    "normals": Pace(_PAPER_STEPS, 24, 1e-4, 5e-5, l0=5e-8, pull=0.13),
}
"""Per task, from the released scripts (Shoouri et al., ICCV 2023); the pull is their sum over activations turned into a
mean. Normals train with 25 images per device there."""

_PAPER_OTHER = Pace(_PAPER_STEPS, 24, 2e-5, 2e-5, l0=5e-8, pull=0.2)
"""For tasks without a released script (depth, and segmentation where another task is the base)."""

_QUICK = Pace({"gates": 120, "mask": 300, "activations": 40, "rows": 340}, 4, 4e-3, 2e-3, l0=5e-8, pull=0.05)
"""Ours: within minutes on two CPU cores with ``vit-micro``."""

_GATE_LR = 0.1
"""Learning rate of the gates' logits in the released code, where decay is left out on purpose: it would fix the density
by itself."""

_TOKEN_PULL = 0.5
"""Weight of the group penalty on whole rows, as a share of the element-wise pull. Ours: rows are what is skipped."""


def stages(tasks: tuple[str, ...], base_task: str, depth: int, budget: Budget, gated: bool) -> list[Stage]:
    """Return the recipe of all tasks.

    Args:
        tasks: The base task first.
        base_task: Task that all others share.
        depth: Blocks of the encoder.
        budget: ``full`` is the paper's; ``quick`` is ours.
        gated: Whether rows will be gated, so that training gets used to it.
    """
    subs = [task for task in tasks if task != base_task]
    phases: list[Phase] = ["gates", "mask", "activations", *(["rows"] if gated else [])]  # type: ignore[list-item]
    recipe = [_base_stage(base_task, depth, budget)]
    for task in subs:
        pace = _QUICK if budget == "quick" else _PAPER.get(task, _PAPER_OTHER)
        recipe += [_sub_stage(task, phase, pace, budget) for phase in phases]
    return recipe


def _base_stage(task: str, depth: int, budget: Budget) -> Stage:
    """Return the dense training of the base: the paper's step 1, or the quick recipe of the baselines.

    The stage is called like the one of the single-task baseline, so that it sees the same images in the same order.
    """
    trainable = ("base.", f"heads.{task}.")
    if budget == "quick":
        return supervised_stage(task, (task,), budget, trainable)
    return Stage(
        task,
        (task,),
        iterations=125_000,  # 400 epochs of PASCAL-Context in batches of 16
        batch_size=16,
        optimizer=Optimizer("adamw", lr=2e-5, weight_decay=1e-6),
        schedule=Schedule("cosine", warmup=312),
        trainable=trainable,
        groups=tuple(_layer_decay(depth, lr=2e-5, decay=0.75)),
        prepare=partial(_drop_paths, rate=0.1),
    )


def _layer_decay(depth: int, lr: float, decay: float) -> list[ParameterGroup]:
    """Return groups whose learning rate shrinks from the last block to the embedding (Bao et al., ICLR 2022)."""
    vit = "base.vit."
    blocks = [ParameterGroup((f"{vit}blocks.{index}.",), lr * decay ** (depth - index)) for index in range(depth)]
    embedding = (f"{vit}patch_embed.", f"{vit}cls_token", f"{vit}pos_embed")
    return [ParameterGroup(embedding, lr * decay ** (depth + 1)), *blocks]


def _drop_paths(model: MultiTaskModel, rate: float) -> None:
    assert isinstance(model, SharedNets)
    model.drop_path = rate


def _sub_stage(task: str, phase: Phase, pace: Pace, budget: Budget) -> Stage:
    """Return one phase of a sub-task; the base stands still in all of them."""
    quick = budget == "quick"
    lr = pace.lr if phase in ("gates", "mask") else pace.late_lr
    learned = [f"deltas.{task}.weights.", f"heads.{task}."]
    if phase == "gates":
        learned += [f"deltas.{task}.logits.", f"deltas.{task}.tensor_logits."]
    gates = (f"deltas.{task}.logits.", f"deltas.{task}.tensor_logits.")
    return Stage(
        f"{phase}/{task}",
        (task,),
        iterations=pace.iterations[phase],
        batch_size=pace.batch_size,
        # Where only the L0 penalty acts, gradients are near 1e-8: a larger eps would set the pace instead of the rate.
        optimizer=Optimizer("adamw", lr=lr, weight_decay=1e-6, eps=1e-12 if phase == "gates" else 1e-8),
        schedule=Schedule("cosine", warmup=10) if quick else Schedule("poly", power=0.9),
        augmentation=Augmentation.light() if quick else Augmentation(),
        trainable=tuple(learned),
        groups=(ParameterGroup(gates, _GATE_LR, weight_decay=0.0),),
        clip_norm=60.0 if phase == "activations" else 10.0,
        terms=Penalties(pace.l0, pace.pull) if phase in ("gates", "activations") else None,
        prepare=None if phase == "gates" else partial(_enter, task=task, phase=phase),
    )


def _enter(model: MultiTaskModel, task: str, phase: Phase) -> None:
    """Begin a phase; the gates settle at the end of theirs."""
    assert isinstance(model, SharedNets)
    delta = model.delta(task)
    assert isinstance(delta, LearnedDelta)
    if phase == "mask":
        delta.settle(model.options.density, model.countable)
    delta.phase = phase


@dataclass(frozen=True)
class Penalties:
    """Loss terms that make a sub-task sparse.

    Attributes:
        l0: Weight of the expected number of open gates, while gates are learned.
        pull: Weight of the differences from the base's activations, while those are pulled.
    """

    l0: float
    pull: float

    def __call__(self, model: MultiTaskModel, batch: Batch, output: TrainingOutput) -> dict[str, Tensor]:
        """Return the terms of the phase."""
        assert isinstance(output, SubRun)
        if output.delta.phase == "gates":
            return {"open gates": self.l0 * output.delta.open_gates()}
        assert output.own is not None
        own, base = output.own, output.base
        elements = torch.stack(
            [_element_pull(own.activations[i], own.hidden[i], base.activations[i], base.hidden[i]) for i in own.hidden]
        )
        rows = torch.stack([_row_pull(own.activations[i], base.activations[i]) for i in own.hidden])
        return {"elements": self.pull * elements.mean(), "rows": self.pull * _TOKEN_PULL * rows.mean()}


def _element_pull(own: Activations, own_hidden: Hidden, base: Activations, base_hidden: Hidden) -> Tensor:
    """Return the mean absolute difference at the paper's six places of a block."""
    pairs = [
        (own.norm1, base.norm1),
        (own.qkv, base.qkv),
        (own.proj, base.proj),
        (own_hidden.fc1, base_hidden.fc1),
        (own_hidden.act, base_hidden.act),
        (own.fc2, base.fc2),
    ]
    total = torch.stack([(ours - theirs).abs().sum() for ours, theirs in pairs]).sum()
    return total / sum(ours.numel() for ours, _ in pairs)


def _row_pull(own: Activations, base: Activations) -> Tensor:
    """Return the mean root mean square change of a row at the inputs that are gated (L2,1 over tokens)."""
    pairs = [(own.norm1, base.norm1), (own.context, base.context), (own.norm2, base.norm2)]
    # The square root has no gradient at 0, where a row has nothing left to give.
    changes = [((ours - theirs).square().mean(-1) + 1e-12).sqrt().mean() for ours, theirs in pairs]
    return torch.stack(changes).mean()
