"""One-to-one matching of predicted and true boundary pixels within a tolerance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.boundary._matching_kernels import (
    Bits,
    Cells,
    augment,
    contains,
    grow,
    near,
    pair_nearest,
    release,
    to_bits,
)
from harness.boundary.thinning import Flat, flatten
from harness.boundary.tiling import Tiling
from harness.errors import DataError


@dataclass(frozen=True)
class GtIndex:
    """A true boundary map, prepared for matching predictions against it. Build it with `index_gt`.

    Attributes:
        shape: (height, width) of the image.
        tiling: Numbering of its pixels, and the tolerance disc in it.
        cells: The boundary pixels.
        bits: The boundary pixels as a set.
        near: The pixels within the tolerance of one of them, as a set.
    """

    shape: tuple[int, int]
    tiling: Tiling
    cells: Cells
    bits: Bits
    near: Bits


def index_gt(gt: NDArray[np.bool_], radius: float) -> GtIndex:
    """Prepare a true boundary map for matching.

    Args:
        gt: Thinned boundary map, bool [h, w].
        radius: Largest Euclidean distance of a match in pixels, inclusive.
    """
    shape = (gt.shape[0], gt.shape[1])
    tiling = Tiling.of(shape, radius)
    cells = tiling.cell_of[flatten(gt)]
    return GtIndex(
        shape, tiling, cells, to_bits(cells, tiling.tiles), grow(cells, tiling.tiles, tiling.steps, tiling.masks)
    )


class Matching:
    """A maximum matching that follows a prediction from threshold to threshold.

    Consecutive maps share most pixels, so the pairs that are still possible are kept, new pixels take the
    nearest free partner, and the result is enlarged until it is maximum. The number of pairs does not depend
    on where it started from.

    Args:
        gt: The true boundary map.
    """

    def __init__(self, gt: GtIndex) -> None:
        size = 64 * gt.tiling.tiles
        self._gt = gt
        self._cells: Cells = np.empty(0, dtype=np.int32)
        self._bits: Bits = np.zeros(gt.tiling.tiles, dtype=np.uint64)
        self._mate: Cells = np.full(size, -1, dtype=np.int32)
        self._mate_of_gt: Cells = np.full(size, -1, dtype=np.int32)
        self._scratch: Cells = np.empty((4, size), dtype=np.int32)

    def update(self, pixels: Flat) -> int:
        """Move on to the next prediction and return the size of its maximum matching.

        Args:
            pixels: Positions of the predicted pixels in the image with a rim.
        """
        # 1. Predicted pixels without a true one in reach can never be matched.
        gt, tiling = self._gt, self._gt.tiling
        cells = tiling.cell_of[pixels]
        cells = cells[contains(gt.near, cells)]
        # 2. Pairs of pixels that are gone are released; new pixels take the nearest free partner.
        fresh = cells[~contains(self._bits, cells)]
        bits = to_bits(cells, tiling.tiles)
        release(self._cells, bits, self._mate, self._mate_of_gt)
        self._cells, self._bits = cells, bits
        self._pair(fresh)
        # 3. Augmenting paths make the matching maximum (Hopcroft and Karp, 1973).
        # Searching from the side with fewer free pixels proves sooner that nothing is left.
        if cells.size < gt.cells.size:
            ends = cells, self._mate, self._mate_of_gt, gt.bits
        else:
            ends = gt.cells, self._mate_of_gt, self._mate, bits
        paired = int(np.count_nonzero(self._mate[cells] >= 0))
        return paired + augment(*ends, tiling.steps, tiling.masks, self._scratch)

    def pair_greedily(self, pixels: Flat) -> int:
        """Start again with a prediction, pair the nearest first and return the number of pairs: approximate.

        Args:
            pixels: Positions of the predicted pixels in the image with a rim.
        """
        self._mate_of_gt[self._gt.cells] = -1
        self._pair(self._gt.tiling.cell_of[pixels])
        return int(np.count_nonzero(self._mate_of_gt[self._gt.cells] >= 0))

    def _pair(self, cells: Cells) -> None:
        """Pair ``cells`` with the nearest free boundary pixels."""
        gt, tiling = self._gt, self._gt.tiling
        free = to_bits(gt.cells[self._mate_of_gt[gt.cells] < 0], tiling.tiles)
        cells = cells[near(cells, free, tiling.steps, tiling.masks)]
        pair_nearest(cells, free, self._mate, self._mate_of_gt, tiling.across, tiling.disc)


def match(prediction: NDArray[np.bool_], gt: GtIndex) -> int:
    """Return the largest number of one-to-one pairs of predicted and true pixels within the tolerance.

    Args:
        prediction: Thinned boundary map, bool [h, w].
        gt: The true boundary map.

    Raises:
        DataError: the two differ in size.
    """
    return Matching(gt).update(_positions(prediction, gt))


def greedy(prediction: NDArray[np.bool_], gt: GtIndex) -> int:
    """Return the number of pairs when the nearest are paired first: approximate, never above `match`.

    Args:
        prediction: Thinned boundary map, bool [h, w].
        gt: The true boundary map.

    Raises:
        DataError: the two differ in size.
    """
    return Matching(gt).pair_greedily(_positions(prediction, gt))


def _positions(prediction: NDArray[np.bool_], gt: GtIndex) -> Flat:
    if prediction.shape != gt.shape:
        raise DataError(f"boundary: the prediction is {prediction.shape}, its label {gt.shape} (height, width)")
    return flatten(prediction)
