"""Temporal consistency of predictions: of classes over windows and along the motion, and of maps along the motion.

Never to be read alone: a copied frame is perfectly consistent.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from harness.data.clips import Motion
from harness.stream.warp import warped
from harness.tasks.base import IGNORE

Rule = Literal["vspw", "all"]


def video_consistency(predicted: Tensor, labels: Tensor, window: int, rule: Rule) -> list[float]:
    """Return VC of every window of a clip: of the pixels whose label stays, the fraction whose prediction stays.

    It asks for a constant prediction, not for a right one, and is blind to what moves (Miao et al., CVPR 2021).

    Args:
        predicted: Classes, [T, H, W].
        labels: Classes, [T, H, W].
        window: Frames of a window.
        rule: ``vspw`` as the released loop runs: the last window is left out, and void counts as a class; ``all``:
            every window, void left out.
    """
    found = []
    last = len(predicted) - window + (rule == "all")
    for first in range(last):
        truth, guess = labels[first : first + window], predicted[first : first + window]
        stays = (truth == truth[0]).all(0)
        if rule == "all":
            stays &= truth[0] != IGNORE
        if count := int(stays.sum()):
            found.append(int((stays & (guess == guess[0]).all(0)).sum()) / count)
    return found


class ClassConsistency:
    """TC and flicker: classes of each frame against those of the next, brought along the motion; pooled over pairs.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, before: Tensor, after: Tensor, motion: Motion) -> float:
        """Add a pair of class maps [H, W]; return the fraction of visible pixels that change, NaN where none is."""
        came = warped(after[None], torch.from_numpy(motion.flow), nearest=True)[0]
        seen = torch.from_numpy(motion.visible)
        places = self.classes * before[seen].long() + came[seen].long()
        self.confusion += places.bincount(minlength=self.classes**2).view_as(self.confusion)
        return float((before[seen] != came[seen]).float().mean()) if bool(seen.any()) else math.nan

    def tc(self) -> float:
        """Return the mean IoU between the two maps over the classes that occur."""
        both, union = self.confusion.diag(), self.confusion.sum(0) + self.confusion.sum(1) - self.confusion.diag()
        present = union > 0
        return float((both[present] / union[present]).mean()) if bool(present.any()) else math.nan

    def flicker(self) -> float:
        """Return the fraction of visible pixels whose class changes."""
        total = int(self.confusion.sum())
        return 1 - int(self.confusion.diag().sum()) / total if total else math.nan


def depth_change(before: Tensor, after: Tensor, truth: tuple[Tensor, Tensor], motion: Motion) -> tuple[float, float]:
    """Return OPW of depth in metres, and relative to the prediction, over visible pixels.

    The true change of depth is carried along: | warp(d') - d z' / z |, with z' the true depth where the pixel went.

    Args:
        before: Predicted depth of frame t in metres, [H, W].
        after: Of frame t + 1.
        truth: True depths of both.
        motion: From t to t + 1.
    """
    flow, seen = torch.from_numpy(motion.flow), torch.from_numpy(motion.visible) & (truth[0] > 0)
    came, true = warped(after[None], flow)[0], warped(truth[1][None], flow)[0]
    expected = before * true / truth[0].clamp(min=1e-6)
    change = (came - expected).abs()[seen]
    if not len(change):
        return math.nan, math.nan
    return float(change.mean()), float((change / before[seen].clamp(min=0.3)).mean())


def normals_change(before: Tensor, after: Tensor, motion: Motion) -> float:
    """Return the mean angle in degrees between normals [3, H, W] and the next ones, turned back into this camera."""
    came = warped(after, torch.from_numpy(motion.flow))
    turned = torch.einsum("ij,jhw->ihw", torch.from_numpy(motion.rotation), came)
    seen = torch.from_numpy(motion.visible)
    found = angles(before, turned)[seen]
    return float(found.mean()) if len(found) else math.nan


def map_change(before: Tensor, after: Tensor, motion: Motion) -> float:
    """Return the mean absolute change of a map [H, W] along the motion, over visible pixels."""
    seen = torch.from_numpy(motion.visible)
    change = (warped(after[None], torch.from_numpy(motion.flow))[0] - before).abs()[seen]
    return float(change.mean()) if len(change) else math.nan


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Return the angles in degrees between vectors [3, H, W] of any length, [H, W]."""
    a, b = first.movedim(0, -1), second.movedim(0, -1)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def pulse(changes: Sequence[float], full: Sequence[bool]) -> float:
    """Return the mean change into frames that were computed in full over that into others; 1 is perfect.

    Args:
        changes: Change into frames 1, 2, ... of a clip.
        full: Whether these frames were computed in full.
    """
    pairs = [(change, whole) for change, whole in zip(changes, full, strict=True) if math.isfinite(change)]
    into = [change for change, whole in pairs if whole]
    elsewhere = [change for change, whole in pairs if not whole]
    if not into or not elsewhere or not sum(elsewhere):
        return math.nan
    return (sum(into) / len(into)) / (sum(elsewhere) / len(elsewhere))
