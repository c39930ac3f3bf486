"""Label maps from rendered frames."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.morphology import thin

from harness.datasets.synth.geometry import Shape
from harness.datasets.synth.paint import Floats
from harness.datasets.synth.render import BACKGROUND, Frame

Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]

CREASE = np.cos(np.deg2rad(25))
"""Cosine of the turn of the normal from which two neighbours lie on both sides of an edge."""


def class_map(frame: Frame, shapes: Sequence[Shape], numbers: Mapping[str, int], sky: int) -> Ints:
    """Return the class number of every pixel, [H, W].

    Args:
        frame: What was rendered.
        shapes: The scene's shapes.
        numbers: Class name to number.
        sky: Number where there is no shape.
    """
    lookup = np.array([numbers[shape.label] for shape in shapes] + [sky], np.int32)
    assert BACKGROUND == -1  # the last entry
    labels: Ints = lookup[frame.shape]
    return labels


def instance_numbers(shapes: Sequence[Shape]) -> Ints:
    """Return a number for every shape, equal for shapes of one thing and one class, and 0 for the sky (last)."""
    keys = sorted({(shape.instance, shape.label) for shape in shapes})
    number = {key: k for k, key in enumerate(keys, start=1)}
    return np.array([number[shape.instance, shape.label] for shape in shapes] + [0], np.int32)


def boundaries(frame: Frame) -> NDArray[np.uint8]:
    """Return geometric boundaries one pixel wide, {0, 255} [H, W].

    A pixel is on one where the shape or, by more than 25 degrees, the normal differs from the right or the
    lower neighbour. Shapes are convex: a jump of depth without a change of shape cannot occur.
    """
    edges = np.zeros(frame.shape.shape, bool)
    # Another shape to the right, or below.
    edges[:, :-1] |= frame.shape[:, :-1] != frame.shape[:, 1:]
    edges[:-1] |= frame.shape[:-1] != frame.shape[1:]
    # Cosine between the normals of neighbours to the right, and below. [H, W - 1], [H - 1, W]
    n = frame.normals
    edges[:, :-1] |= np.einsum("ijk,ijk->ij", n[:, :-1], n[:, 1:]) < CREASE
    edges[:-1] |= np.einsum("ijk,ijk->ij", n[:-1], n[1:]) < CREASE
    thinned: NDArray[np.bool_] = thin(edges)  # type: ignore[no-untyped-call]
    return thinned.astype(np.uint8) * np.uint8(255)


def unlabelled(instances: Ints, rng: np.random.Generator) -> Mask:
    """Return pixels that an annotator would have left out, [H, W].

    A tenth of the borders between two things carry a band of 1 to 3 pixels, and there are a few holes.
    """
    missing = np.zeros(instances.shape, bool)
    count = int(instances.max()) + 1
    drawn = rng.random((count, count)) < 0.1  # of [smaller number, larger number]
    # Borders to the lower, then to the right neighbour; one draw decides for all of a pair of things.
    for axis in (0, 1):
        first, second = np.moveaxis(instances, axis, 0)[:-1], np.moveaxis(instances, axis, 0)[1:]
        chosen = (first != second) & drawn[np.minimum(first, second), np.maximum(first, second)]
        np.moveaxis(missing, axis, 0)[:-1] |= chosen
    # Bands of one pixel or of three.
    if rng.random() < 0.7:
        missing = binary_dilation(missing)
    # Up to three small discs.
    height, width = instances.shape
    rows, columns = np.ogrid[:height, :width]
    for _ in range(rng.integers(0, 4)):
        row, column = rng.integers(height), rng.integers(width)
        missing |= (rows - row) ** 2 + (columns - column) ** 2 <= (0.02 * width * rng.uniform(0.5, 1)) ** 2
    return missing


def encode_normals(normals: Floats) -> NDArray[np.uint8]:
    """Return unit vectors [H, W, 3] as 8-bit values v with n = 2 v / 255 - 1."""
    stored: NDArray[np.uint8] = np.rint((normals + 1) * 127.5).astype(np.uint8)
    return stored
