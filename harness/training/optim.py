"""Optimisers and learning-rate schedules of a stage."""

import math

import torch
from torch import nn

from harness.errors import MethodError
from harness.recipe import Optimizer, Schedule, Stage


def build_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Freeze what the stage does not train and return an optimiser over the rest.

    Matrices and kernels decay; vectors (biases, norms) do not. Each group carries its peak learning rate as ``peak``.

    Raises:
        MethodError: the stage's prefixes match no parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trainable))
        if parameter.requires_grad:
            lr, decay = _pace(name, stage)
            groups.setdefault((lr, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    if not groups:
        raise MethodError(f"stage {stage.name}: no parameter name starts with any of {stage.trainable}")
    return _optimizer(
        stage.optimizer,
        [{"params": held, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), held in groups.items()],
    )


def _pace(name: str, stage: Stage) -> tuple[float, float]:
    """Return learning rate and decay of a parameter."""
    spec = stage.optimizer
    group = next((group for group in stage.groups if name.startswith(group.prefixes)), None)
    if group is None:
        return spec.lr, spec.weight_decay
    return group.lr, spec.weight_decay if group.weight_decay is None else group.weight_decay


def _optimizer(spec: Optimizer, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    betas = (spec.momentum, spec.beta2)
    match spec.name:  # fused: one kernel per group instead of a dozen per tensor
        case "adamw":
            return torch.optim.AdamW(groups, lr=spec.lr, betas=betas, eps=spec.eps, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=spec.lr, betas=betas, eps=spec.eps, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, fused=True)


def lr_factor(schedule: Schedule, iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration as a factor of the peak.

    Args:
        schedule: The schedule.
        iteration: 0-based iteration.
        iterations: Iterations of the stage, warm-up included.
    """
    if iteration < schedule.warmup:
        return (iteration + 1) / schedule.warmup
    past, length = iteration - schedule.warmup, max(iterations - schedule.warmup, 1)
    done = past / length if schedule.steps is None else past * schedule.steps // length / schedule.steps
    match schedule.name:
        case "poly":
            return float((1 - done) ** schedule.power)
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return 1.0
