"""Counts of one predicted boundary map against the true one, at every threshold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.boundary.matching import Matching, index_gt
from harness.boundary.rule import BoundaryRule
from harness.boundary.suppression import suppress
from harness.boundary.thinning import Flat, add_pixels, flatten, thin_pixels
from harness.errors import DataError

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one image, or of several added up; int64 [thresholds] each.

    Attributes:
        cnt_r: Matched pixels of the true boundaries.
        sum_r: All pixels of the true boundaries.
        cnt_p: Matched pixels of the prediction; equal to ``cnt_r`` with one annotator.
        sum_p: All pixels of the prediction.
    """

    cnt_r: Integers
    sum_r: Integers
    cnt_p: Integers
    sum_p: Integers

    def __add__(self, other: Self) -> Self:
        """Return the counts of both."""
        return type(self)(
            self.cnt_r + other.cnt_r,
            self.sum_r + other.sum_r,
            self.cnt_p + other.cnt_p,
            self.sum_p + other.sum_p,
        )


def count_image(probability: NDArray[Any], gt: NDArray[np.bool_], rule: BoundaryRule) -> Counts:
    """Match one predicted boundary map with the true boundaries at every threshold.

    The field scores 8-bit pictures, floor(255 * p). A uint8 map is read as one; a float map is taken as it
    is and scores slightly differently.

    Args:
        probability: Boundary map in the original size, [h, w]; uint8, or float in [0, 1].
        gt: Thinned true boundaries (`harness.boundary.ground_truth`), bool [h, w].
        rule: The conventions.

    Returns:
        Counts, int64 [thresholds].

    Raises:
        DataError: the two differ in size, or the map is not a map of probabilities.
    """
    # 1. Thresholds that each pixel passes, and the true boundaries as a set that is quick to search.
    _check(probability, gt)
    levels = _levels(probability, rule)
    index = index_gt(gt, rule.radius((gt.shape[0], gt.shape[1])))
    # 2. One matching that follows the prediction from the highest threshold to the lowest.
    matching = Matching(index)
    match_map = matching.update if rule.matcher == "exact" else matching.pair_greedily
    matched, predicted = np.zeros((2, len(rule.thresholds)), dtype=np.int64)
    for reached, pixels in _thinned_maps(levels):
        # Between two levels that occur, all thresholds see the same map.
        matched[reached] = match_map(pixels)
        predicted[reached] = pixels.size
    # 3. A true pixel is matched by one predicted pixel, so matched counts are the same on both sides.
    truth = np.full(len(rule.thresholds), index.cells.size, dtype=np.int64)
    return Counts(cnt_r=matched, sum_r=truth, cnt_p=matched.copy(), sum_p=predicted)


def _check(probability: NDArray[Any], gt: NDArray[np.bool_]) -> None:
    if probability.ndim != 2 or probability.shape != gt.shape or not gt.size:
        raise DataError(
            f"boundary: prediction {probability.shape} and label {gt.shape} must be maps [h, w] of one size"
        )
    if gt.dtype != bool:
        raise DataError(f"boundary: the label is a boolean map (see ground_truth), not {gt.dtype}")
    if probability.dtype == np.uint8:
        return
    if probability.dtype.kind != "f":
        raise DataError(f"boundary: a prediction is uint8 or float, not {probability.dtype}")
    if not (probability.min() >= 0 and probability.max() <= 1):  # also refuses NaN
        raise DataError("boundary: a float prediction must lie in [0, 1]; apply the sigmoid first")


def _levels(probability: NDArray[Any], rule: BoundaryRule) -> NDArray[np.int16]:
    """Return how many thresholds each pixel passes, [h, w]."""
    scale = 255 if probability.dtype == np.uint8 else 1
    levels = np.zeros(probability.shape, dtype=np.int16)
    if rule.nms:
        # Above the threshold, in float32, as SEISM compares: searchsorted left counts thresholds < v.
        ridges = suppress(probability.astype(np.float32) / np.float32(scale))
        positive = ridges > 0
        above = np.array(rule.thresholds, dtype=np.float32)
        levels[positive] = np.searchsorted(above, ridges[positive], side="left")
    else:
        # Reaching the threshold, in float64, as MTI-Net compares: right counts thresholds <= v.
        values = probability.astype(np.float64) / scale
        levels[:] = np.searchsorted(np.array(rule.thresholds), values, side="right")
    return levels


def _thinned_maps(levels: NDArray[np.int16]) -> Iterator[tuple[slice, Flat]]:
    """Yield the thinned map of every distinct threshold, the sparsest first.

    Args:
        levels: How many thresholds each pixel passes, [h, w].

    Yields:
        The thresholds that share the map, and its pixels.
    """
    stride = levels.shape[1] + 2
    states = np.zeros((levels.shape[0] + 2) * stride, dtype=np.uint16)
    # Sorted by level, each threshold adds a run of pixels to the map of the one above.
    passed = levels[levels > 0]
    descending = np.argsort(-passed, kind="stable")
    pixels, passed = flatten(levels > 0)[descending], passed[descending]
    ends = [*(np.flatnonzero(np.diff(passed)) + 1), passed.size] if passed.size else []
    start = 0
    for end in ends:
        add_pixels(pixels[start:end], stride, states)
        lower = passed[end] if end < passed.size else 0
        yield slice(lower, passed[start]), thin_pixels(pixels[:end], stride, states)
        start = end
