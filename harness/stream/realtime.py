"""Streaming accuracy: the output in force at each frame of a camera that waits for no model (sAP, ECCV 2020)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from harness.stream.off_dense import UNITS
from harness.tasks.base import IGNORE


@dataclass(frozen=True)
class Replay:
    """A stream replayed on recorded times.

    Attributes:
        shown: Frame to the frame whose output is in force at its time; None where there is none yet.
        processed: Frames that were computed; the others were dropped.
        finished: Seconds at which these outputs were there.
    """

    shown: tuple[int | None, ...]
    processed: tuple[int, ...]
    finished: tuple[float, ...]

    @property
    def misses(self) -> int:
        """Frames without any output."""
        return sum(frame is None for frame in self.shown)

    @property
    def lag(self) -> float:
        """Mean age of the output in force, in frames; NaN where there never is one."""
        ages = [index - frame for index, frame in enumerate(self.shown) if frame is not None]
        return sum(ages) / len(ages) if ages else math.nan


def replay(seconds: Sequence[float], fps: float, margin: float = 0.0) -> Replay:
    """Replay frames that arrive at a fixed rate through a model that takes the newest one whenever it is free.

    Frame i comes at t_i = i / F. It is scored with the last output that was there at t_i - margin.

    Args:
        seconds: Recorded time of every frame.
        fps: F, frames per second.
        margin: Seconds before the frame's time at which an output must be there.

    Example:
        >>> replay([0.15] * 5, fps=10).shown  # one and a half frames of work each
        (None, None, 0, 1, 1)
    """
    free, processed, finished = 0.0, [], []
    frame = 0
    while frame < len(seconds):
        start = max(free, frame / fps)
        free = start + seconds[frame]
        processed.append(frame)
        finished.append(free)
        # The newest frame that has come by then; the ones between are dropped. Rounding must not lose one.
        frame = max(frame + 1, math.floor(free * fps + 1e-9))
    shown: list[int | None] = []
    for index in range(len(seconds)):
        done = [k for k, at in zip(processed, finished, strict=True) if at <= index / fps - margin + 1e-12]
        shown.append(done[-1] if done else None)
    return Replay(tuple(shown), tuple(processed), tuple(finished))


def without_output(task: str, raw: Tensor, label: Tensor) -> Tensor:
    """Return what is scored while there is no output yet: every class wrong, regressions by a constant.

    Args:
        task: Name of the task.
        raw: Any raw map of the task, [B, C, H, W].
        label: Label of the frame, [B, 1 or 3, H, W]; the constant of a regression is its mean.
    """
    if task in UNITS:
        valid = label != IGNORE
        mean = label.where(valid, 0).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
        return mean.expand_as(raw).contiguous()
    if raw.shape[1] == 1:  # nothing is found
        return raw.new_full(raw.shape, -20.0)
    wrong = (label[:, 0].long() + 1) % raw.shape[1]  # [B, H, W]
    return F.one_hot(wrong, raw.shape[1]).movedim(-1, 1).to(raw.dtype)
