"""Random brightness, contrast, saturation and hue, in the order and ranges of SSD (Liu et al., ECCV 2016)."""

import numpy as np
from numpy.typing import NDArray

from harness.data.transforms import Floats

_BRIGHTNESS = 32.0
_FACTORS = (0.5, 1.5)
_HUE = 36.0
"""Largest turn of the hue in degrees: 18 on the scale of 180 that the published pipelines use."""


def distort_(planes: Floats, rng: np.random.Generator) -> None:
    """Change the colours of an image in place; each change happens to every second image.

    Brightness moves by up to 32 of 255, contrast and saturation are multiplied by 0.5 to 1.5, the hue turns by
    up to 36 degrees. Contrast comes before or after the changes of colour.

    Args:
        planes: RGB [3, H, W] in [0, 255].
        rng: Source of all draws; their number does not depend on the outcome.
    """
    # All draws come first, so that their number is the same whatever happens.
    brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
    offset, hue_turn = rng.uniform(-_BRIGHTNESS, _BRIGHTNESS), rng.uniform(-_HUE, _HUE)
    contrast_factor, saturation_factor = rng.uniform(*_FACTORS, size=2)
    if brightness:
        planes += np.float32(offset)
        np.clip(planes, 0, 255, out=planes)
    if contrast and contrast_first:
        _multiply_(planes, contrast_factor)
    if saturation:
        saturate_(planes, saturation_factor)
    if hue:
        turn_hue_(planes, hue_turn)
    if contrast and not contrast_first:
        _multiply_(planes, contrast_factor)


def _multiply_(planes: Floats, factor: float) -> None:
    planes *= np.float32(factor)
    np.clip(planes, 0, 255, out=planes)


def saturate_(planes: Floats, factor: float) -> None:
    """Multiply the saturation of HSV, at most to 1, in place; hue and value stay.

    With value V = max and S = (V - min) / V, each channel is V - (V - c), and V - c is proportional to S.

    Args:
        planes: RGB [3, H, W], not negative.
        factor: Not negative.
    """
    value = planes.max(axis=0)
    if factor > 1:
        chroma = value - planes.min(axis=0)
        np.maximum(chroma, np.float32(1e-6), out=chroma)
        limit = value / chroma  # 1 / S, the factor that saturates fully
        factors: NDArray[np.float32] | np.float32 = np.minimum(limit, np.float32(factor))
    else:
        factors = np.float32(factor)
    planes -= value
    planes *= factors
    planes += value


def turn_hue_(planes: Floats, degrees: float) -> None:
    """Turn the hue of HSV in place; saturation and value stay.

    The way back from HSV is one formula per channel (A. R. Smith, SIGGRAPH 1978, in its branch-free form):
    c = V - C max(0, min(k, 4 - k, 1)) with k = (n + H / 60) mod 6 and n = 5, 3, 1 for red, green, blue.

    Args:
        planes: RGB [3, H, W], not negative.
        degrees: Turn towards green, in [-360, 360].
    """
    # Value V = max, chroma C = V - min, and the sector of the hue in 0..6.
    red, green, blue = planes
    value = planes.max(axis=0)
    chroma = value - planes.min(axis=0)
    safe = np.maximum(chroma, np.float32(1e-6))
    sector = np.where(
        value == red, green - blue, np.where(value == green, blue - red + 2 * safe, red - green + 4 * safe)
    )
    sector /= safe
    for channel, start in zip(planes, (5, 3, 1), strict=True):
        k = sector + np.float32(start + degrees / 60 + 6)
        k -= 6 * np.floor(k / 6)
        np.minimum(k, 4 - k, out=k)
        np.clip(k, 0, 1, out=k)
        k *= chroma
        np.subtract(value, k, out=channel)
