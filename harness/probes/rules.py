"""Warm-up rule and sampling rules of the latency probe."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

import torch

_WINDOW = 5
"""Calls in a running median: the fewest that one or two interrupted calls do not move."""

_STEADY = 0.05
"""Relative distance of running medians that counts as standing still: above the 1 to 3 % of noise between calls on a
quiet machine, below the 20 % and more that first calls (allocation, autotuning, rising clocks) lie above later ones."""


@dataclass(frozen=True)
class LatencyRules:
    """Rules of warm-up and of sampling.

    Sampling ends when every subject has ``min_iterations`` samples and ``min_seconds`` of them, and every ratio to
    the first subject is known to within ``ratio_margin``; but when ``max_seconds`` per subject are spent, with no
    less than ``min_samples`` each.

    Attributes:
        min_iterations: Samples per subject.
        min_seconds: Seconds of sampling per subject.
        max_seconds: Seconds of sampling per subject at which uncertainty is accepted.
        min_samples: Samples per subject whatever the time.
        ratio_margin: Half the width of the 95 % interval of a ratio, relative to the ratio.
        block_seconds: Length of one block of a subject's calls, which gives caches the time to fill with its own data.
        min_warmup: Warm-up calls per subject.
        min_warmup_seconds: Seconds of warm-up per subject; clocks need some to rise.
        max_warmup_seconds: Seconds of warm-up per subject after which an unsteady median is accepted.
    """

    min_iterations: int
    min_seconds: float
    max_seconds: float = 60.0
    min_samples: int = 5
    ratio_margin: float = 0.01
    block_seconds: float = 0.05
    min_warmup: int = 3
    min_warmup_seconds: float = 0.2
    max_warmup_seconds: float = 10.0

    @classmethod
    def for_device(cls, device: torch.device) -> Self:
        """Return the rules for a kind of device."""
        if device.type == "cuda":
            return cls(min_iterations=100, min_seconds=3.0, min_warmup=10, min_warmup_seconds=0.5)
        return cls(min_iterations=20, min_seconds=3.0)

    def warm(self, times_ms: Sequence[float]) -> bool:
        """Return whether calls that took this long, in order, are warm-up enough."""
        # 1. The least, so that clocks have risen; 2. then until the running median stands still, but not for ever.
        seconds = sum(times_ms) / 1e3
        if len(times_ms) < self.min_warmup or seconds < self.min_warmup_seconds:
            return False
        # The median of the last few calls has stood still over the last three calls.
        count = len(times_ms)
        medians = [median(times_ms[max(0, stop - _WINDOW) : stop]) for stop in range(max(1, count - 2), count + 1)]
        return seconds >= self.max_warmup_seconds or max(medians) <= (1 + _STEADY) * min(medians)

    def block_calls(self, call_ms: float) -> int:
        """Return the calls of one block of a subject whose call takes ``call_ms``."""
        return max(1, math.ceil(1e3 * self.block_seconds / call_ms))

    def enough(self, samples: Sequence[int], seconds: Sequence[float]) -> bool:
        """Return whether samples and seconds, per subject, reach the least that is asked for."""
        return min(samples) >= max(self.min_iterations, self.min_samples) and min(seconds) >= self.min_seconds

    def exhausted(self, samples: Sequence[int], seconds: Sequence[float]) -> bool:
        """Return whether the time is spent, samples and seconds given per subject."""
        return min(samples) >= self.min_samples and sum(seconds) >= self.max_seconds * len(seconds)
