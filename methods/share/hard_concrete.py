"""Hard-concrete gates of weights (Louizos et al., ICLR 2018) as diff pruning uses them (Guo et al., ACL 2021)."""

import torch
from torch import Tensor

LOW, HIGH = -1.5, 1.5
"""The interval a concrete variable is stretched to before it is clipped to [0, 1]."""

_MARGIN = 1e-4
"""Uniform draws keep this distance from 0 and 1, where the logit is infinite."""


def sample_gates(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw gates in [0, 1], differentiable in ``logits``.

    z = clip(s (HIGH - LOW) + LOW, 0, 1) with s = sigmoid(logit(u) + logits), u uniform.

    Args:
        logits: Any shape.
        generator: Source of the draws, on the device of ``logits``.
    """
    # A concrete variable at temperature 1: s = sigmoid(log u - log(1 - u) + logits).
    uniform = torch.empty_like(logits).uniform_(_MARGIN, 1 - _MARGIN, generator=generator)
    return _stretch(torch.sigmoid(torch.logit(uniform) + logits))


def deterministic_gates(logits: Tensor) -> Tensor:
    """Return the gates without noise, for evaluation; positive exactly where a gate is open more often than not."""
    return _stretch(torch.sigmoid(logits))


def open_probability(logits: Tensor) -> Tensor:
    """Return the probability that a gate is not zero: sigmoid(logits - log(-LOW / HIGH)).

    The margin of the uniform draws is neglected; it moves the probability by at most 1e-4.
    """
    return torch.sigmoid(logits)  # the interval is symmetric: log(-LOW / HIGH) = 0


def _stretch(s: Tensor) -> Tensor:
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)
