"""Medians over the pixels of many images, from statistics of a few kilobytes per image.

The median of a split is exact: kept are the values next to it in the order of all pixels, and how many lie below.
That of a draw of images lies elsewhere; it is read from histograms, where it is known to a fraction of a bin.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.tasks.images import Array, Floats, Statistic, objects

BINS = 360
"""Bins of half a degree."""

TOP = 180.0

WINDOW = 64
"""Values kept around the median, per image on average."""

MEDIAN_LAYOUT: Mapping[str, Statistic] = {
    "below": Statistic(),
    "window": Statistic("values"),
    "bounds": Statistic("sum", (2,)),
}
"""Values up to the lower bound, values between both bounds, and the bounds, which are the same for all images."""


def histogram(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the counts of angles in bins of equal width, [BINS]."""
    place = np.nan_to_num(values * np.float32(BINS / TOP)).astype(np.int64)
    return np.bincount(place.clip(0, BINS - 1), minlength=BINS)


def around_median(images: Sequence[NDArray[np.float32]]) -> dict[str, Array]:
    """Return the statistics of `MEDIAN_LAYOUT`, [N, ...].

    Args:
        images: All values of every image.
    """
    found = {name: statistic.empty(len(images)) for name, statistic in MEDIAN_LAYOUT.items()}
    pooled = np.concatenate([np.empty(0, np.float32), *images])
    if not pooled.size:
        return found
    # The bounds are the values of two ranks: what lies strictly between them is never more than asked for.
    middle, reach = pooled.size // 2, WINDOW // 2 * len(images) + 1
    ranks = max(middle - reach, 0), min(middle + reach, pooled.size - 1)
    low, high = np.partition(pooled, ranks)[list(ranks)]
    found["bounds"][:] = low, high
    found["below"][:] = [np.count_nonzero(one <= low) for one in images]
    found["window"] = objects([np.sort(one[(one > low) & (one < high)]) for one in images])
    return found


def exact_median(statistics: Mapping[str, Array]) -> float:
    """Return the median of all values, as NumPy rounds it; NaN where there are none.

    Args:
        statistics: ``pixels`` and those of `MEDIAN_LAYOUT`, [N, ...].
    """
    size = int(statistics["pixels"].sum())
    if not size:
        return float("nan")
    low, high = statistics["bounds"][0].astype(np.float32)
    below = int(statistics["below"].sum())
    window = np.sort(np.concatenate([np.empty(0, np.float32), *statistics["window"]]))

    def at(rank: int) -> np.float32:
        """Return the value of a rank between those of the bounds."""
        if rank < below:
            return np.float32(low)
        return np.float32(window[rank - below] if rank - below < window.size else high)

    return float(np.mean(np.array([at((size - 1) // 2), at(size // 2)], np.float32)))


def histogram_median(counts: Floats) -> Floats:
    """Return the median of histograms [..., BINS], values taken as spread evenly over their bin; NaN without values."""
    reached = counts.cumsum(-1)
    half = reached[..., -1:] / 2
    place = np.argmax(reached >= half, -1)[..., None]
    inside = np.take_along_axis(counts, place, -1)
    before = np.take_along_axis(reached, place, -1) - inside
    found = (place + (half - before) / np.maximum(inside, 1e-9)) * (TOP / BINS)
    return np.where(half > 0, found, np.nan)[..., 0]
