"""The test that latencies are judged by."""

import numpy as np
from numpy.typing import NDArray

from harness.costs import Latency
from harness.probes.pairing import round_ratios

LEVEL = 0.99
RESAMPLES = 4000
MIN_PAIRS = 10
SESSION_DEVIATION = 0.015
"""Of the log ratios of two repeats of one session: where memory lands, and what else runs for all of it.

Rounds of one session cannot tell it. Measured by ``benchmarks/compare.py`` on a busy machine.
"""

TEST = {
    "name": "moving-block bootstrap of the difference of two medians of paired log ratios",
    "statistic": "exp(median log ratio in HEAD - median log ratio in BASE); a log ratio is that of a row's block to "
    "the reference's block of the same round, averaged over two rounds of opposite order",
    "level": LEVEL,
    "resamples": RESAMPLES,
    "least_pairs": MIN_PAIRS,
    "session_deviation": SESSION_DEVIATION,
    "regressed": "the whole interval lies above 1 + tolerance",
    "improved": "the whole interval lies below 1 / (1 + tolerance)",
}
"""The test in words and numbers, as it is printed with the results."""

Values = NDArray[np.float64]


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


def slowdown(head: Values, base: Values | None = None) -> tuple[float, float, float]:
    """Return how many times as long HEAD takes as BASE, with the ends of its interval.

    The interval of two sessions is wider than their rounds tell, by `SESSION_DEVIATION` for each.

    Args:
        head: Log ratios of HEAD to the reference, [pairs]; or to BASE itself.
        base: Log ratios of BASE to the same reference, from another session, [pairs]; None where HEAD's are to BASE.
    """
    generator = np.random.default_rng(0)
    middle, drawn = float(np.median(head)), _medians(head, generator)
    if base is not None:
        middle, drawn = middle - float(np.median(base)), drawn - _medians(base, generator)
        drawn += generator.normal(0.0, np.sqrt(2) * SESSION_DEVIATION, RESAMPLES)
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(np.exp(middle)), float(np.exp(low)), float(np.exp(high))


def _medians(values: Values, generator: np.random.Generator) -> Values:
    """Return the medians of resamples made of blocks of neighbours, for what disturbs one round disturbs the next.

    Künsch, Annals of Statistics 1989; circular as in Politis and Romano, 1992. Blocks are sqrt(n) long.
    """
    count = len(values)
    length = int(np.ceil(np.sqrt(count)))
    starts = generator.integers(count, size=(RESAMPLES, -(-count // length), 1))
    drawn = ((starts + np.arange(length)) % count).reshape(RESAMPLES, -1)[:, :count]
    medians: Values = np.median(values[drawn], axis=1)
    return medians


def _rounds(latency: Latency) -> list[list[float]]:
    counts, samples = latency.sampling.rounds, np.asarray(latency.samples_ms)
    if min(counts, default=0) < 1 or sum(counts) != len(samples) or not (samples > 0).all():
        raise ValueError("the samples do not form rounds")
    return [block.tolist() for block in np.split(samples, np.cumsum(counts)[:-1])]
