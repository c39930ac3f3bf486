"""Errors of a stream against the same network run densely on the same frames; they need no labels."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.records.metric import Unit
from harness.stream.consistency import angles

UNITS: dict[str, Unit] = {"depth": "ratio", "normals": "deg"}
"""Unit of the error by task; fractions for the others."""

_NEAREST = 0.3  # metres: relative errors of what is nearer say nothing


def off_dense(task: str, streamed: Tensor, dense: Tensor) -> float:
    """Return how far a streamed prediction is from the dense one.

    Fraction of pixels of another class; mean relative depth; mean angle of normals in degrees; mean absolute change of
    a probability.

    Args:
        task: Name of the task.
        streamed: Raw maps [C, H, W].
        dense: Raw maps of the dense run, [C, H, W].
    """
    match task:
        case "depth":
            return float(((streamed - dense).abs() / dense.clamp(min=_NEAREST)).mean())
        case "normals":
            return float(angles(streamed, dense).mean())
        case "semseg" | "parts":
            return float((streamed.argmax(0) != dense.argmax(0)).float().mean())
    return float((_probability(streamed) - _probability(dense)).abs().mean())


def _probability(raw: Tensor) -> Tensor:
    return torch.softmax(raw, 0)[1] if len(raw) == 2 else torch.sigmoid(raw)


def feature_error(streamed: Tensor, dense: Tensor) -> float:
    """Return || f - f0 || / || f0 || of maps that heads read."""
    return float((streamed - dense).norm() / dense.norm().clamp(min=1e-12))


def drift(errors: Sequence[float], first: int = 4) -> float:
    """Return the slope of errors over frames ``first`` to the end by least squares, per 10 frames.

    >>> round(drift([9, 9, 9, 9, 1.0, 1.1, 1.2, 1.3]), 6)
    1.0
    """
    kept = [(index, error) for index, error in enumerate(errors) if index >= first and math.isfinite(error)]
    if len(kept) < 2:
        return math.nan
    index, error = np.array(kept).T
    return 10 * float(np.polyfit(index, error, 1)[0])


def growth(errors: Sequence[float], span: int = 8, first: int = 4) -> float:
    """Return the mean error of the last frames over that of the frames from ``first`` on; 1 is no drift.

    Args:
        errors: Of every frame of a clip.
        span: Frames of either mean; clips in which the two would overlap give NaN.
        first: First frame of the earlier mean, behind the full pass that begins the clip.

    >>> growth([0.0] * 4 + [1.0] * 8 + [1.5] * 8)
    1.5
    """
    early, late = errors[first : first + span], errors[-span:]
    if len(errors) < first + 2 * span or not all(map(math.isfinite, (*early, *late))) or not sum(early):
        return math.nan
    return sum(late) / sum(early)
