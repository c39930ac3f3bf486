"""Conventions of one boundary evaluation: tolerance of a match, thresholds, suppression, matcher."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from harness.errors import UsageError

SEISM_THRESHOLDS = (0.001, *(k / 100 for k in range(1, 100)), 0.999)
"""The 101 thresholds of the SEISM tools (Pont-Tuset and Marques, 2016)."""

PLAIN_THRESHOLDS = tuple(k / 100 for k in range(1, 100))
"""The 99 thresholds of the variant without non-maximum suppression."""

Matcher = Literal["exact", "greedy"]


@dataclass(frozen=True)
class BoundaryRule:
    """Every choice that changes a boundary score.

    Attributes:
        max_dist: Largest distance of a match, as a fraction of the image diagonal; a data set's card has its value.
        nms: With it, the map is thinned to its ridges and damped at the rim, and a pixel is a boundary
            where its value is above the threshold in float32 (SEISM). Without it, the map is taken as it
            is and a pixel is a boundary where its value reaches the threshold in float64.
        matcher: ``exact`` finds the largest one-to-one matching. ``greedy`` takes the nearest pairs first
            and never reconsiders: approximate, some 0.5 to 2 % low.
        thresholds: Ascending, inside (0, 1).

    Raises:
        UsageError: a value is out of range.
    """

    max_dist: float
    nms: bool = True
    matcher: Matcher = "exact"
    thresholds: tuple[float, ...] = SEISM_THRESHOLDS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_dist) and self.max_dist > 0):
            raise UsageError(f"boundary: max_dist is a positive fraction of the diagonal, not {self.max_dist}")
        if self.matcher not in ("exact", "greedy"):
            raise UsageError(f"boundary: matcher is 'exact' or 'greedy', not {self.matcher!r}")
        inside = all(0 < threshold < 1 for threshold in self.thresholds)
        ascending = all(low < high for low, high in pairwise(self.thresholds))
        if not (self.thresholds and inside and ascending):
            raise UsageError("boundary: thresholds must ascend strictly inside (0, 1)")

    @classmethod
    def plain(cls, max_dist: float) -> "BoundaryRule":
        """Return the variant without non-maximum suppression, with 99 thresholds."""
        return cls(max_dist, nms=False, thresholds=PLAIN_THRESHOLDS)

    # Not for publication: the best threshold may lie between those that are tried.
    @classmethod
    def quick(cls, max_dist: float) -> "BoundaryRule":
        """Return the rule for a quick look: every fifth threshold, greedy matching. Approximate."""
        return cls(max_dist, matcher="greedy", thresholds=SEISM_THRESHOLDS[::5])

    @property
    def approximate(self) -> bool:
        """True if scores by this rule only estimate the published score."""
        return self.matcher == "greedy"

    def radius(self, shape: tuple[int, int]) -> float:
        """Return the tolerance in pixels on an image of ``shape`` (height, width)."""
        # r = max_dist * sqrt(h^2 + w^2): 7.7 pixels at 425x560 for NYUD-v2's 0.011
        return self.max_dist * math.hypot(*shape)
