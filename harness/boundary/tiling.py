"""Tiling: the numbering of pixels that the matcher works in."""

import math
from dataclasses import dataclass

import numpy as np

from harness.boundary._matching_kernels import Bits, Cells


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
        steps, masks = _disc_in_tiles(radius, margin, across)
        return cls(
            across, down * across, cell_of.ravel().astype(np.int32), steps, masks, _disc_by_distance(radius, reach)
        )


def _disc_by_distance(radius: float, reach: int) -> Cells:
    dy, dx = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    # Nearest first; of pixels at one distance in reading order.
    square = dy * dy + dx * dx
    order = np.argsort(square, kind="stable")[: np.count_nonzero(square <= radius * radius)]
    return np.stack([dy, dx], axis=1)[order].astype(np.int32)


def _disc_in_tiles(radius: float, margin: int, across: int) -> tuple[Cells, Bits]:
    step_y, step_x = (axis.ravel() for axis in np.mgrid[-margin : margin + 1, -margin : margin + 1])
    y, x = np.divmod(np.arange(64), 8)
    # Axes: place of the centre in its tile, tile, place in that tile.
    dy = 8 * step_y[:, None] + y - y[:, None, None]
    dx = 8 * step_x[:, None] + x - x[:, None, None]
    # One bit per pixel of a tile, set where the pixel is within the radius.
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    masks = np.where(dy * dy + dx * dx <= radius * radius, bits, np.uint64(0)).sum(axis=2, dtype=np.uint64)
    touched = masks.any(axis=0)
    steps = (step_y * across + step_x)[touched].astype(np.int32)
    return steps, np.ascontiguousarray(masks[:, touched])
