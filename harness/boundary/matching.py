"""One-to-one matching of predicted and true boundary pixels within a tolerance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.boundary._matching_kernels import Bits, augment, grow, near, pair_nearest, release, to_bits
from harness.boundary.thinning import Flat, flatten
from harness.errors import DataError


@dataclass(frozen=True)
class GtIndex:
    """A true boundary map, prepared for matching predictions against it.

    Build it with `index_gt`.

    Attributes:
        shape: (height, width) of the image.
        pixels: Positions of the boundary pixels in the image with a rim.
        image: The boundary map with a rim, flat uint8.
        near: Where a boundary pixel is within the tolerance, flat uint8 with a rim.
        bits: The boundary map with a rim, as a bit image.
        half: Half width of the tolerance disc in each of its rows, [2*reach+1].
        disc: Offsets (dy, dx) inside the disc by ascending distance, [n, 2].
    """

    shape: tuple[int, int]
    pixels: Flat
    image: NDArray[np.uint8]
    near: NDArray[np.uint8]
    bits: Bits
    half: Flat
    disc: Flat

    @property
    def stride(self) -> int:
        """Width of the image with its rim."""
        return self.shape[1] + 2


def index_gt(gt: NDArray[np.bool_], radius: float) -> GtIndex:
    """Prepare a true boundary map for matching.

    Args:
        gt: Thinned boundary map, bool [h, w].
        radius: Largest Euclidean distance of a match in pixels, inclusive.
    """
    height, width = gt.shape
    reach = min(math.floor(radius), max(height, width))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = dy * dy + dx * dx
    inside = square <= radius * radius
    by_distance = np.argsort(square[inside], kind="stable")
    half = ((inside.sum(axis=1) - 1) // 2).astype(np.int32)
    pixels = flatten(gt)
    return GtIndex(
        shape=(height, width),
        pixels=pixels,
        image=np.pad(gt, 1).astype(np.uint8).ravel(),
        near=grow(pixels, height + 2, width + 2, half),
        bits=to_bits(pixels, height + 2, width + 2),
        half=half,
        disc=np.stack([dy[inside], dx[inside]], axis=1)[by_distance].astype(np.int32),
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
        size = gt.image.size
        self._gt = gt
        self._pixels: Flat = np.empty(0, dtype=np.int32)
        self._image = np.zeros(size, dtype=np.uint8)
        self._mate: Flat = np.full(size, -1, dtype=np.int32)
        self._mate_of_gt: Flat = np.full(size, -1, dtype=np.int32)
        self._scratch = np.empty((4, size), dtype=np.int32)

    def update(self, pixels: Flat) -> int:
        """Move on to the next prediction and return the size of its maximum matching.

        Args:
            pixels: Positions of the predicted pixels in the image with a rim.
        """
        gt = self._gt
        pixels = pixels[gt.near[pixels] != 0]
        fresh = pixels[self._image[pixels] == 0]
        self._image[self._pixels] = 0
        self._image[pixels] = 1
        release(self._pixels, self._image, self._mate, self._mate_of_gt)
        self._pixels = pixels
        free = to_bits(gt.pixels[self._mate_of_gt[gt.pixels] < 0], gt.shape[0] + 2, gt.stride)
        fresh = fresh[near(fresh, free, gt.stride, gt.half)]
        pair_nearest(fresh, gt.image, self._mate, self._mate_of_gt, gt.stride, gt.disc)
        matched = int(np.count_nonzero(self._mate[pixels] >= 0))
        # Searching from the side with fewer free pixels proves sooner that nothing is left.
        if pixels.size < gt.pixels.size:
            matched += augment(pixels, self._mate, self._mate_of_gt, gt.bits, gt.stride, gt.half, self._scratch)
        else:
            bits = to_bits(pixels, gt.shape[0] + 2, gt.stride)
            matched += augment(gt.pixels, self._mate_of_gt, self._mate, bits, gt.stride, gt.half, self._scratch)
        return matched


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
    return pair_nearest_first(_positions(prediction, gt), gt)


def pair_nearest_first(pixels: Flat, gt: GtIndex) -> int:
    """As `greedy`, for positions in the image with a rim."""
    mate = np.full(gt.image.size, -1, dtype=np.int32)
    mate_of_gt = np.full(gt.image.size, -1, dtype=np.int32)
    pair_nearest(pixels[gt.near[pixels] != 0], gt.image, mate, mate_of_gt, gt.stride, gt.disc)
    return int(np.count_nonzero(mate_of_gt[gt.pixels] >= 0))


def _positions(prediction: NDArray[np.bool_], gt: GtIndex) -> Flat:
    if prediction.shape != gt.shape:
        raise DataError(f"boundary: the prediction is {prediction.shape}, its label {gt.shape} (height, width)")
    return flatten(prediction)
