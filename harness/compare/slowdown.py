"""The test that latencies are judged by."""

import math
from dataclasses import dataclass

import numpy as np

from harness.probes.pairing import Mean, Values, correlated_mean, pair_means, round_ratios
from harness.records.costs import Latency

LEVEL = 0.99
LEAST_PAIRS = 10
"""Pairs of rounds below which nothing is judged: fewer do not tell how neighbours are correlated."""
SESSION_DEVIATION = 0.015
"""Of the log ratio between repeats of one session: where memory lands, and what else runs for all of it.

The rounds of a session cannot tell it. Measured by ``benchmarks/compare.py`` on a busy machine.
"""

TEST = {
    "name": "Welch's t interval of means of correlated paired log ratios",
    "statistic": "mean over HEAD minus mean over BASE of log ratios, outliers cut off at 3 robust standard deviations; "
    "a log ratio is of a row's block to the reference's in the same round, averaged over two rounds of opposite order",
    "standard_error": "that of an autoregressive series of order 1, whose correlation is estimated",
    "level": LEVEL,
    "session_deviation": SESSION_DEVIATION,
    "regressed": "the whole interval lies above 1 + tolerance",
    "improved": "the whole interval lies below 1 / (1 + tolerance)",
}
"""The test in words and numbers, as it is printed with the results."""


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
    return pair_means(np.log(round_ratios(one, other)))


def slowdown(head: Values, base: Values | None = None) -> Interval:
    """Return how many times as long HEAD takes as BASE, with its interval.

    What disturbs one round disturbs the next, which `correlated_mean` allows for. Two sessions differ by more than
    their rounds tell; `SESSION_DEVIATION` is added for each.

    Args:
        head: Log ratios of HEAD to the reference, [pairs], no less than `LEAST_PAIRS`; or to BASE itself.
        base: Log ratios of BASE to the same reference, from another session, [pairs]; None where HEAD's are to BASE.
    """
    means, known = [correlated_mean(head)], 0.0
    middle = means[0].value
    if base is not None:
        means.append(correlated_mean(base))
        middle, known = middle - means[1].value, 2 * SESSION_DEVIATION**2
    # Welch and Satterthwaite: squares add up, degrees of freedom by their weights; what is known has infinitely many.
    total = sum(mean.square for mean in means) + known
    spread = sum(mean.square**2 / mean.freedom for mean in means)
    half = Mean(middle, total, total**2 / spread if spread else math.inf).half_width(LEVEL)
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _rounds(latency: Latency) -> list[list[float]]:
    counts, samples = latency.sampling.rounds, np.asarray(latency.samples_ms)
    if min(counts, default=0) < 1 or sum(counts) != len(samples) or not (samples > 0).all():
        raise ValueError("the samples do not form rounds")
    return [block.tolist() for block in np.split(samples, np.cumsum(counts)[:-1])]
