"""Bootstrap over images: metrics of random draws of the scored images, and the intervals that follow from them.

A draw has as many images as the split, with replacement (Efron and Tibshirani, 1993). All methods that were scored on
the same images are looked at on the same draws, so that what makes an image hard for all of them cancels in their
differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from harness.tasks.images import Array, Floats, ImageMeter, View

DRAWS = 10_000
LEVEL = 0.95
SEED = 20_260

LEAST_IMAGES = 2
"""Images below which nothing can be said of their spread."""

_CHUNK = 512
"""Draws that are multiplied at once: their counts as floats take 20 MB for 5 000 images."""


@lru_cache(maxsize=2)
def draws_of(images: int, draws: int = DRAWS) -> NDArray[np.uint8]:
    """Return how often each image is in each draw, [draws, images]; the same for the same number of images."""
    generator = np.random.default_rng((SEED, images))
    found = np.empty((draws, images), np.uint8)
    for start in range(0, draws, _CHUNK):
        rows = found[start : start + _CHUNK]
        picked = generator.integers(0, images, (len(rows), images)) + images * np.arange(len(rows))[:, None]
        counts = np.bincount(picked.ravel(), minlength=rows.size)
        assert counts.max() < 256
        rows[:] = counts.reshape(rows.shape)
    found.flags.writeable = False
    return found


class Drawn(View):
    """Draws of images; results have the leading shape (draws,).

    Args:
        statistics: Name to the values of every image, [N, ...].
        counts: How often each image is in each draw, [draws, N].
        every: As for a `View`.
    """

    whole = False

    def __init__(self, statistics: Mapping[str, Array], counts: NDArray[np.uint8], every: bool = True) -> None:
        super().__init__(statistics, every)
        self.counts = counts

    def sum(self, values: Array) -> Floats:
        """Return the totals as a product of two matrices, [draws, N] and [N, K]; exact for counts below 2^53."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        total = np.empty((len(self.counts), flat.shape[1]))
        for start in range(0, len(total), _CHUNK):
            rows = slice(start, start + _CHUNK)
            np.matmul(self.counts[rows].astype(np.float64), flat, out=total[rows])
        return total.reshape(len(total), *values.shape[1:])

    def median(self, values: Floats, counted: NDArray[np.bool_]) -> Floats:
        """Return the median of each draw, its images in ascending order counted as often as they were drawn."""
        places = np.flatnonzero(counted)
        places = places[np.argsort(values[places], kind="stable")]
        found = np.full(len(self.counts), np.nan)
        if places.size:
            reached = self.counts[:, places].cumsum(1, dtype=np.int32)  # [draws, images]
            size = reached[:, -1]
            middle = ((size - 1) // 2, size // 2)
            both = [values[places][np.argmax(reached > rank[:, None], 1)] for rank in middle]
            found[size > 0] = np.mean(both, 0)[size > 0]
        return found


def resampled(
    meter: ImageMeter, statistics: Mapping[str, Array], counts: NDArray[np.uint8], every: bool = False
) -> dict[str, Floats]:
    """Return the metrics of every draw, [draws] each.

    Args:
        meter: An empty meter of the protocol.
        statistics: Name to the values of every image, [N, ...].
        counts: How often each image is in each draw, [draws, N].
        every: All metrics, not the quick ones alone.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return meter.values(Drawn(statistics, counts, every))


@dataclass(frozen=True)
class Interval:
    """An interval of a value.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2

    def holds(self, value: float) -> bool:
        """Return whether a value lies in it."""
        return self.low <= value <= self.high


def interval(estimate: float, draws: Floats, images: int, level: float = LEVEL) -> Interval | None:
    """Return the interval of a value from its bootstrap; None where the draws say nothing.

    Centre: the estimate less the bias that the bootstrap shows, which for mIoU with rare classes is as large as the
    spread: a draw that misses the only image of a class counts it as wrong. Half width: the standard deviation of the
    draws, N / (N - 1) for that of the sample, times Student's quantile of N - 1 degrees of freedom.

    Args:
        estimate: The value of all images.
        draws: Its values on the draws; those without a value are left out.
        images: Images N that were drawn from.
        level: Probability that it is to cover the truth with.
    """
    known = draws[np.isfinite(draws)]
    if images < LEAST_IMAGES or known.size < len(draws) / 2:
        return None
    centre = 2 * estimate - float(known.mean())
    quantile = float(student.ppf((1 + level) / 2, images - 1))
    half = quantile * float(known.std()) * (images / (images - 1)) ** 0.5
    # Rounding of the mean of equal draws is no width.
    if np.ptp(known) == 0:
        centre, half = estimate, 0.0
    return Interval(centre - half, centre + half)
