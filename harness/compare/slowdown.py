"""The test that latencies are judged by."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.probes.pairing import round_ratios
from harness.records.costs import Latency

LEVEL = 0.99
BATCHES = 10
SESSION_DEVIATION = 0.015
"""Of the log ratio between repeats of one session: where memory lands, and what else runs for all of it.

The rounds of a session cannot tell it. Measured by ``benchmarks/compare.py`` on a busy machine.
"""

TEST = {
    "name": "Welch's t interval of batch medians of paired log ratios",
    "statistic": "mean over HEAD minus mean over BASE of the medians of consecutive batches of log ratios; a log ratio "
    "is that of a row's block to the reference's of the same round, averaged over two rounds of opposite order",
    "level": LEVEL,
    "batches": BATCHES,
    "session_deviation": SESSION_DEVIATION,
    "regressed": "the whole interval lies above 1 + tolerance",
    "improved": "the whole interval lies below 1 / (1 + tolerance)",
}
"""The test in words and numbers, as it is printed with the results."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A ratio and the ends of its interval."""

    ratio: float
    low: float
    high: float


def paired_log_ratios(ours: Latency, reference: Latency) -> Values:
    """Return the log ratios of latencies of one session, one per pair of rounds.

    Rounds come in pairs of opposite order, so the mean over a pair is free of a steady drift.

    Args:
        ours: The latency to relate.
        reference: What it is related to.

    Raises:
        ValueError: the samples do not form rounds, or those of the two do not go together.
    """
    one, other = _rounds(ours), _rounds(reference)
    if len(one) != len(other):
        raise ValueError(f"{len(one)} rounds do not go with {len(other)}")
    whole = len(one) // 2 * 2
    ratios: Values = np.log(round_ratios(one[:whole], other[:whole]))
    means: Values = ratios.reshape(-1, 2).mean(axis=1)
    return means


def slowdown(head: Values, base: Values | None = None) -> Interval:
    """Return how many times as long HEAD takes as BASE, with its interval.

    What disturbs one round disturbs the next, so the interval is made from batches of neighbours, which are nearly
    independent (batch means: Schmeiser, Operations Research 1982), and from their medians, which bear outliers. Two
    sessions differ by more than their rounds tell; `SESSION_DEVIATION` is added for each.

    Args:
        head: Log ratios of HEAD to the reference, [pairs], no less than `BATCHES`; or to BASE itself.
        base: Log ratios of BASE to the same reference, from another session, [pairs]; None where HEAD's are to BASE.
    """
    middle, square = _batched(head)
    squares, known = [square], 0.0
    if base is not None:
        other, square = _batched(base)
        middle, known = middle - other, 2 * SESSION_DEVIATION**2
        squares.append(square)
    total, spread = sum(squares) + known, sum(square**2 for square in squares) / (BATCHES - 1)
    freedom = total**2 / spread if spread else math.inf  # Welch and Satterthwaite; what is known has infinite freedom
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(total)
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _batched(values: Values) -> tuple[float, float]:
    """Return the mean of the medians of consecutive batches, and the square of its standard error."""
    medians = np.array([np.median(batch) for batch in np.array_split(values, BATCHES)])
    return float(medians.mean()), float(medians.var(ddof=1)) / BATCHES


def _rounds(latency: Latency) -> list[list[float]]:
    counts, samples = latency.sampling.rounds, np.asarray(latency.samples_ms)
    if min(counts, default=0) < 1 or sum(counts) != len(samples) or not (samples > 0).all():
        raise ValueError("the samples do not form rounds")
    return [block.tolist() for block in np.split(samples, np.cumsum(counts)[:-1])]
