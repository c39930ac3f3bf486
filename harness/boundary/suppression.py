"""Non-maximum suppression of boundary maps, as in structured edges (Dollar and Zitnick, ICCV 2013)."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from harness.jit import kernel

Map = NDArray[np.float32]

# The triangle filter of radius 4: a box of 5 convolved with itself, with sum 1.
_TRIANGLE = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / np.float32(25)
_MULTIPLIER = np.float32(1.01)
"""A neighbour has to be 1 % higher to suppress a pixel, so that plateaus stay."""
_RIM = 5
"""Lines from each side that are damped: filters see the image's end there, and not a boundary."""


def orientation(probability: Map) -> Map:
    """Return the direction across the boundary at every pixel, in radians inside [0, pi).

    It comes from the second derivatives of the map smoothed by a triangle filter of radius 4.

    Args:
        probability: float32 [h, w].

    Returns:
        float32 [h, w].
    """
    # 1. Smooth, and the three second derivatives: I_xx, I_xy, I_yy.
    smooth = correlate1d(correlate1d(probability, _TRIANGLE, axis=0, mode="reflect"), _TRIANGLE, axis=1, mode="reflect")
    ox, oy = _derivative(smooth, 1), _derivative(smooth, 0)
    oxx, oxy, oyy = _derivative(ox, 1), _derivative(ox, 0), _derivative(oy, 0)
    # 2. tan(angle) = I_yy sgn(-I_xy) / I_xx; 1e-5 keeps flat areas finite.
    angle = np.arctan(oyy * np.sign(-oxy) / (oxx + np.float32(1e-5)))
    return np.mod(angle, np.float32(math.pi))


def _derivative(image: Map, axis: int) -> Map:
    """Return central differences, one-sided at the rim; zero along an axis of one pixel."""
    if image.shape[axis] < 2:
        return np.zeros_like(image)
    return np.asarray(np.gradient(image, axis=axis), dtype=np.float32)


@kernel
def _sample(image: Map, y: np.float32, x: np.float32) -> np.float32:
    """Interpolate bilinearly, the coordinates clamped to [0, size - 1.001]."""
    height, width = image.shape
    x = max(np.float32(0), min(x, np.float32(width - 1.001)))
    y = max(np.float32(0), min(y, np.float32(height - 1.001)))
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    # Weights of the four pixels around (y, x).
    right, below = np.float32(x - np.float32(x0)), np.float32(y - np.float32(y0))
    left, above = np.float32(1) - right, np.float32(1) - below
    return np.float32(
        image[y0, x0] * left * above
        + image[y0, x1] * right * above
        + image[y1, x0] * left * below
        + image[y1, x1] * right * below
    )


@kernel
def _keep_ridges(image: Map, angle: Map) -> Map:
    """Zero the pixels that are clearly below a neighbour one pixel off across the boundary."""
    height, width = image.shape
    ridges = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            value = image[y, x]
            if value <= 0:
                continue
            # Keep v if 1.01 v >= both neighbours at distance 1 across the boundary.
            raised = value * _MULTIPLIER
            dx, dy = np.float32(math.cos(angle[y, x])), np.float32(math.sin(angle[y, x]))
            fx, fy = np.float32(x), np.float32(y)
            if raised >= _sample(image, fy - dy, fx - dx) and raised >= _sample(image, fy + dy, fx + dx):
                ridges[y, x] = value
    return ridges


def suppress(probability: Map, angle: Map | None = None) -> Map:
    """Keep the ridges of a boundary map and damp its rim.

    The k-th row and column from each side (k = 0 to 4) is multiplied by k/5, so the rim itself becomes 0.

    Args:
        probability: float32 [h, w] in [0, 1].
        angle: Direction across the boundary, float32 [h, w]; `orientation` of the map when None.

    Returns:
        float32 [h, w]; 0 where suppressed.
    """
    ridges = _keep_ridges(probability, orientation(probability) if angle is None else angle)
    for lines in (ridges, ridges.T):  # rows, then columns; a corner is damped twice
        for k in range(min(_RIM, len(lines) // 2)):
            factor = np.float32(k) / np.float32(_RIM)
            lines[k] *= factor
            lines[-1 - k] *= factor
    return ridges
