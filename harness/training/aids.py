"""Training aids that a command switches on for any method: parts of a batch, averaged weights, balanced gradients."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.sample import Batch
from harness.errors import UsageError
from harness.problem import Problem
from harness.recipe import Aids, Balance, Stage
from harness.tasks.base import Task, Total
from harness.training import parallel


def check_aids(aids: Aids, stages: Sequence[Stage], fp16: bool) -> None:
    """Check that the aids can be had for every stage, before anything is trained.

    Raises:
        UsageError: they cannot; the message says why.
    """
    if (aids.accumulate > 1 or aids.balance) and parallel.world() > 1:
        raise UsageError("--accumulate and --balance are for one process; several share a batch already")
    if aids.balance and fp16:
        raise UsageError("--balance does not go with --precision fp16, whose gradients are scaled; use bf16 or fp32")
    for stage in stages:
        if aids.accumulate > stage.batch_size:
            raise UsageError(f"--accumulate {aids.accumulate}: stage {stage.name} has batches of {stage.batch_size}")
        if aids.balance and stage.weigh is not None:
            raise UsageError(f"--balance {aids.balance}: the method weighs the losses of stage {stage.name} itself")
    if aids.balance and aids.balance != "uncertainty":
        _aggregator(aids.balance)


# Accumulation


def parts_of(batch: Batch, count: int) -> list[Batch]:
    """Return a batch in ``count`` parts of equal size, or one image more."""
    total = len(batch.ids)
    bounds = [index * total // count for index in range(count + 1)]
    return [
        replace(
            batch,
            ids=batch.ids[start:stop],
            images=batch.images[start:stop],
            labels={task: label[start:stop] for task, label in batch.labels.items()},
            sizes=batch.sizes[start:stop],
            offsets=batch.offsets[start:stop],
        )
        for start, stop in pairwise(bounds)
    ]


class WholeBatch:
    """Denominators of the losses of a batch that comes in parts: what the labels of all parts add up to.

    A loss is a sum over the predictions over a sum over the labels. Sums over the labels are those of the whole batch,
    so that the losses of the parts, and their gradients, add up to those of the batch.

    Args:
        parts: The parts.
        tasks: Task objects by name.
        problem: Says the channels of every task.
        names: Tasks that are supervised.
    """

    def __init__(
        self, parts: Sequence[Batch], tasks: Mapping[str, Task], problem: Problem, names: Sequence[str]
    ) -> None:
        self._sums: dict[str, list[Tensor]] = {}
        for name in names:
            for part in parts:
                label = part.labels[name]
                # Predictions do not matter: what is summed of them is never read. [B, C, H, W]
                nothing = label.new_zeros(len(label), problem.task(name).channels, *label.shape[2:])
                found: list[Tensor] = []

                def note(value: Tensor, found: list[Tensor] = found) -> Tensor:
                    found.append(value.detach())
                    return value

                with torch.no_grad():
                    tasks[name].loss(nothing, label, note)
                held = self._sums.get(name)
                self._sums[name] = found if held is None else [a + b for a, b in zip(held, found, strict=True)]

    def total(self, name: str) -> Total:
        """Return the sum over the whole batch, for one call of the loss of a task on a part."""
        sums: Iterator[Tensor] = iter(self._sums[name])

        def whole(value: Tensor) -> Tensor:
            known = next(sums)
            return value if value.requires_grad else known  # numerators of the parts add up by themselves

        return whole


# Averaged weights


class Average:
    """Exponential moving average of the weights and statistics of a model, which it has when the stage ends.

    avg <- d avg + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) at step t, so that short stages forget their start.

    Args:
        model: The model as the stage begins.
        decay: Largest d.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in _averaged(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take the weights after a step, 0-based."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in _averaged(model):
            self.values[name].lerp_(value, 1 - decay)

    @torch.no_grad()
    def give_to(self, model: nn.Module) -> None:
        """Put the average into the model."""
        for name, value in _averaged(model):
            value.copy_(self.values[name])


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return (
        (name, value)
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and value.is_floating_point()
    )


# Balanced gradients


class Backward:
    """Backward passes of one stage: of the sum of the losses, or balanced between the tasks.

    With ``uncertainty`` it is of sum exp(-s) L + s over the tasks, s learned (Kendall et al., CVPR 2018). The other
    kinds make one gradient of those of the tasks, each of which takes a pass that is counted as effort.

    Args:
        model: The model.
        stage: The stage; one task has nothing to be balanced with.
        kind: One of `harness.recipe.Balance`; None for the sum.
        optimizer: Takes the learned weights as a group of its own.
        scaler: Scales losses of fp16.
        device: Where it trains.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: Stage,
        kind: Balance | None,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        device: torch.device,
    ) -> None:
        self.model, self.tasks, self.scaler = model, stage.tasks, scaler
        self.kind = kind if len(stage.tasks) > 1 else None
        self.s = torch.zeros(len(stage.tasks), device=device, requires_grad=True)  # log of the variance by task
        if self.kind == "uncertainty":
            peak = stage.optimizer.lr
            optimizer.add_param_group({"params": [self.s], "lr": peak, "peak": peak, "weight_decay": 0.0})

    def __call__(self, losses: Mapping[str, Tensor]) -> None:
        """Add the gradients of losses, weighted as the recipe says."""
        if self.kind is not None and self.kind != "uncertainty":
            self._aggregated(list(objectives_of(losses, self.tasks).values()), self.kind)
            return
        total = torch.stack(list(losses.values())).sum()
        if self.kind == "uncertainty":
            objectives = objectives_of(losses, self.tasks)
            rest = objectives.pop("auxiliary", None)
            of_tasks = torch.stack([objectives[task] for task in self.tasks])
            total = ((-self.s).exp() * of_tasks + self.s).sum() + (0 if rest is None else rest)
        torch.autograd.backward(self.scaler.scale(total))

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps."""
        return {"s": self.s.detach()} if self.kind == "uncertainty" else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what a checkpoint has kept."""
        if "s" in state:
            with torch.no_grad():
                self.s.copy_(state["s"])

    def _aggregated(self, objectives: Sequence[Tensor], kind: Balance) -> None:
        autojac: Any = importlib.import_module("torchjd.autojac")
        parameters = [one for one in self.model.parameters() if one.requires_grad]
        # One objective after the other: operators with kernels of their own know no batched gradients.
        autojac.backward(list(objectives), inputs=parameters, parallel_chunk_size=1)
        autojac.jac_to_grad([one for one in parameters if getattr(one, "jac", None) is not None], _aggregator(kind))


def objectives_of(losses: Mapping[str, Tensor], tasks: Sequence[str]) -> dict[str, Tensor]:
    """Return an objective per task: its loss with those of its intermediate predictions; all others are one."""
    found: dict[str, Tensor] = {}
    for name, value in losses.items():
        task = name.rpartition("/")[2]
        key = task if task in tasks else "auxiliary"
        found[key] = found[key] + value if key in found else value
    return found


def _aggregator(kind: Balance) -> Any:
    try:
        rules: Any = importlib.import_module("torchjd.aggregation")
        rule = {"upgrad": "UPGrad", "mgda": "MGDA", "pcgrad": "PCGrad", "cagrad": "CAGrad"}[kind]
        # 0.5 is the strength that CAGrad's authors use.
        return rules.CAGrad(c=0.5) if kind == "cagrad" else getattr(rules, rule)()
    except ImportError as error:
        raise UsageError(f"--balance {kind} needs torchjd; run: pip install 'mtl-harness[balance]'") from error
