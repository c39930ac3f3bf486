"""Optimisers and learning-rate schedules of a stage."""

import math

import torch
from torch import nn

from harness.errors import MethodError
from harness.recipe import Optimizer, Schedule, Stage


def build_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Freeze all parameters that the stage does not train, and return an optimiser of the others.

    Matrices and kernels decay; vectors (biases, norms) do not. Each group carries its peak learning rate as ``peak``.

    Raises:
        MethodError: the stage's prefixes match no parameter.
    """
    # (learning rate, decay) to parameters: few groups, for each is one call of a fused kernel.
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trainable))
        if parameter.requires_grad:
            spec = stage.optimizer
            lr, decay = spec.lr, spec.weight_decay
            # The first group of the stage whose prefix matches sets the learning rate, and the decay if it has one.
            if own := next((group for group in stage.groups if name.startswith(group.prefixes)), None):
                lr, decay = own.lr, decay if own.weight_decay is None else own.weight_decay
            groups.setdefault((lr, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    if not groups:
        raise MethodError(f"stage {stage.name}: no parameter name starts with any of {stage.trainable}")
    return _optimizer(
        stage.optimizer,
        [{"params": held, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), held in groups.items()],
    )


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

    Example:
        >>> schedule = Schedule("poly", power=1.0, warmup=2)
        >>> [round(lr_factor(schedule, iteration, 6), 2) for iteration in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    # Linear warm-up: 1/w, 2/w, ..., 1.
    if iteration < schedule.warmup:
        return (iteration + 1) / schedule.warmup
    past, length = iteration - schedule.warmup, max(iterations - schedule.warmup, 1)
    # Fraction of the rest that is done, in [0, 1); with steps it advances at the start of each part only.
    done = past / length if schedule.steps is None else past * schedule.steps // length / schedule.steps
    match schedule.name:
        case "poly":
            # (1 - t)^p
            return float((1 - done) ** schedule.power)
        case "cosine":
            # f + (1 - f) (1 + cos(pi t)) / 2
            return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return 1.0
