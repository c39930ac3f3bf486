"""One-to-one matching of predicted and true boundary pixels within a tolerance, on tiles of 8x8 pixels."""

import math
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
from harness.errors import DataError


@dataclass(frozen=True)
class Tiling:
    """An image cut into tiles of 8x8 pixels, with a margin that a disc around any pixel stays inside.

    Cell ``64 * tile + 8 * y + x`` is the pixel (y, x) of a tile. A set of cells is a 64-bit word per tile.

    Attributes:
        across: Number of tiles in a row.
        tiles: Number of tiles.
        cell_of: Cell of every position in the image with a rim (`harness.boundary.thinning.Flat`).
        steps: Tiles that a disc touches, relative to the tile of its centre, [n].
        masks: The part of a disc in each of these tiles, by the place of its centre, uint64 [64, n].
        disc: Offsets (dy, dx) inside the disc by ascending distance, [m, 2].
    """

    across: int
    tiles: int
    cell_of: Cells
    steps: Cells
    masks: Bits
    disc: Cells

    @classmethod
    def of(cls, shape: tuple[int, int], radius: float) -> "Tiling":
        """Return the tiling of an image of ``shape`` (height, width) for discs of ``radius`` pixels, inclusive."""
        # A margin of whole tiles on every side, so that a disc never leaves the numbering.
        reach = min(math.floor(radius), max(shape))
        margin = -(-reach // 8)
        down, across = (-(-size // 8) + 2 * margin for size in shape)
        y = np.arange(-1, shape[0] + 1)[:, None] + 8 * margin
        x = np.arange(-1, shape[1] + 1) + 8 * margin
        # Tile number times 64, plus the place inside the tile.
        cell_of = ((y >> 3) * across + (x >> 3)) << 6 | (y & 7) << 3 | x & 7
        # The disc as words: axes are the place of the centre in its tile [64], tile [n], place in that tile [64].
        step_y, step_x = (axis.ravel() for axis in np.mgrid[-margin : margin + 1, -margin : margin + 1])
        in_y, in_x = np.divmod(np.arange(64), 8)
        dy = 8 * step_y[:, None] + in_y - in_y[:, None, None]
        dx = 8 * step_x[:, None] + in_x - in_x[:, None, None]
        # One bit per pixel of a tile, set where dy^2 + dx^2 <= r^2.
        bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
        masks = np.where(dy * dy + dx * dx <= radius * radius, bits, np.uint64(0)).sum(axis=2, dtype=np.uint64)
        touched = masks.any(axis=0)
        # The disc as offsets, nearest first; of pixels at one distance in reading order.
        dy, dx = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        square = dy * dy + dx * dx
        order = np.argsort(square, kind="stable")[: np.count_nonzero(square <= radius * radius)]
        return cls(
            across,
            down * across,
            cell_of.ravel().astype(np.int32),
            steps=(step_y * across + step_x)[touched].astype(np.int32),
            masks=np.ascontiguousarray(masks[:, touched]),
            disc=np.stack([dy, dx], axis=1)[order].astype(np.int32),
        )


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
