"""Ratios of latencies that were measured interleaved, with intervals that hold where neighbouring rounds are alike.

Whatever disturbs one method of a session disturbs the next, so the ratio of a round is steadier than its times. Rounds
that follow each other are disturbed alike, too: taken as independent they promise an interval that is far too narrow.
Tables, the rule that ends a measurement, and the regression gate all use the one estimate of this file.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records.costs import PairedRatio

if TYPE_CHECKING:
    from harness.probes.timing import Timing

Values = NDArray[np.float64]

_LEVEL = 0.95
_OUTLIER = 3.0
"""Robust standard deviations at which values are cut off: a burst counts, but not by its whole height."""
_MOST_CORRELATION = 0.95
"""Bound of the estimated correlation: beyond it, a session is as good as one value."""
_LEAST_FREEDOM = 2.0
"""Degrees of freedom that are left to the shortest sessions; with 1 the interval would be 6 times as wide again."""


class Mean(NamedTuple):
    """A mean of correlated values.

    Attributes:
        value: The mean.
        square: Square of its standard error.
        freedom: Degrees of freedom of that square.
    """

    value: float
    square: float
    freedom: float

    def half_width(self, level: float) -> float:
        """Return half the width of the t interval of a level."""
        from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats alone takes a second to import

        return float(stdtrit(self.freedom, (1 + level) / 2)) * math.sqrt(self.square)


def paired_ratio(ours: "Timing", reference: "Timing", reference_id: str) -> PairedRatio:
    """Return how much longer ``ours`` takes than ``reference``, from the rounds of one session.

    Args:
        ours: The timing to relate.
        reference: The timing it is related to.
        reference_id: run_id of the reference's record.

    Raises:
        ValueError: they are of different sessions.
    """
    if ours.session != reference.session:
        raise ValueError("only timings of one session can be paired")
    ratio, low, high = ratio_interval(ours.rounds, reference.rounds)
    return PairedRatio(reference=reference_id, ratio=ratio, low=low, high=high, rounds=len(ours.rounds))


def ratio_interval(ours: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return the median ratio of the rounds and its 95 % interval; equal rounds give an interval without width."""
    ratios = round_ratios(ours, reference)
    ratio = float(np.median(ratios))
    pairs = pair_means(np.log(ratios))
    if len(pairs) < 2:  # too few to tell how they vary
        return ratio, float(ratios.min()), float(ratios.max())
    mean = correlated_mean(pairs)
    half = mean.half_width(_LEVEL)
    # The median of the rounds may lie a little beside the mean of the pairs; an interval includes what it is of.
    return ratio, min(ratio, math.exp(mean.value - half)), max(ratio, math.exp(mean.value + half))


def round_ratios(ours: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> Values:
    """Return the ratio of the two medians of each round."""
    pairs = zip(ours, reference, strict=True)
    return np.array([np.median(one) / np.median(other) for one, other in pairs])


def pair_means(values: Values) -> Values:
    """Return the means of consecutive pairs, [n // 2].

    Rounds come in pairs of opposite order (ABBA), so a pair is free of a steady drift. A last single one is left out.
    """
    means: Values = values[: len(values) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return means


def correlated_mean(values: Values) -> Mean:
    """Return the mean of a series whose neighbours are correlated, with its standard error.

    The series is taken as autoregressive of order 1: m values with correlation r are worth m (1 - r) / (1 + r)
    independent ones. r is estimated with Kendall's correction of its bias (Biometrika 1954), and never below 0.

    Args:
        values: [m], at least two.
    """
    m = len(values)
    # 1. Cut outliers off at 3 robust standard deviations (1.4826 times the median absolute deviation).
    middle = np.median(values)
    reach = _OUTLIER * 1.4826 * np.median(np.abs(values - middle))
    kept = np.clip(values, middle - reach, middle + reach) if reach > 0 else values
    mean = float(kept.mean())
    deviations = kept - mean
    squares = float(deviations @ deviations)
    if squares == 0:
        return Mean(mean, 0.0, m - 1)
    # 2. Correlation of neighbours that are no outliers: a burst comes alone, and would hide how the others go together.
    calm = kept == values
    both = calm[1:] & calm[:-1]  # [m - 1]
    covariance = float((deviations[1:] * deviations[:-1])[both].sum()) / max(both.sum(), 1)
    r = covariance * calm.sum() / float(deviations[calm] @ deviations[calm])
    # r + (1 + 4 r) / m takes the bias of a short series away.
    r = min(max(r + (1 + 4 * r) / m, 0.0), _MOST_CORRELATION)
    inflation = (1 + r) / (1 - r)
    # 3. Variance of the mean. The spread within a short correlated series is too small by the part its mean follows.
    variance = squares / (m - 1) / max(1 - (inflation - 1) / m, 0.2)
    return Mean(mean, variance * inflation / m, max(m / inflation - 1, _LEAST_FREEDOM))
