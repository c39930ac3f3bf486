"""Ratios of latencies that were measured in turn, which what disturbs both alike leaves alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.probes.timing import Timing
from harness.records.costs import PairedRatio

_RESAMPLES = 1000


def paired_ratio(ours: Timing, reference: Timing, reference_id: str) -> PairedRatio:
    """Return how much longer ``ours`` takes than ``reference``, from the rounds of one session.

    Args:
        ours: The timing to relate.
        reference: What it is related to.
        reference_id: run_id of the reference's record.

    Raises:
        ValueError: they are of different sessions.
    """
    if ours.session != reference.session:
        raise ValueError("only timings of one session can be paired")
    ratios = round_ratios(ours.rounds, reference.rounds)
    low, high = median_interval(ratios)
    return PairedRatio(reference=reference_id, ratio=float(np.median(ratios)), low=low, high=high, rounds=len(ratios))


def round_ratios(ours: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the ratio of the two medians of each round."""
    pairs = zip(ours, reference, strict=True)
    return np.array([np.median(one) / np.median(other) for one, other in pairs])


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median; equal values give equal intervals."""
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], axis=1), (2.5, 97.5))
    return float(low), float(high)
