"""Pictures of maps: colours of classes, normals and probabilities, and colour scales of numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Swatch = tuple[str, tuple[int, int, int]]
"""A name and the RGB colour that stands for it."""


def voc_colours() -> Picture:
    """Return the PASCAL VOC colour of every 8-bit label, [256, 3]; 0 is black.

    The bits of the label are dealt out to red, green and blue in turn, the lowest to the highest bit of
    each colour (Everingham et al., VOC development kit).
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for position in range(3):
            bit = labels >> (3 * position + channel) & 1
            colours[:, channel] |= (bit << (7 - position)).astype(np.uint8)
    return colours


def label_picture(labels: NDArray[Any], has_background: bool, ignored: NDArray[np.bool_] | None = None) -> Picture:
    """Return the colours [H, W, 3] of a label map [H, W].

    Args:
        labels: Class indices.
        has_background: Class 0 is the background and black; otherwise colours start past black, which is
            left to ignored pixels.
        ignored: Pixels to show black.
    """
    first = 0 if has_background else 1
    picture = voc_colours()[(labels.astype(np.int64) + first) % 256]
    return blacken(picture, ignored)


def grey_picture(values: NDArray[Any], ignored: NDArray[np.bool_] | None = None) -> Picture:
    """Return the grey picture [H, W, 3] of values in [0, 1], [H, W]."""
    grey = _to_bytes(values)
    return blacken(np.repeat(grey[:, :, None], 3, axis=2), ignored)


def normals_picture(normals: NDArray[Any], ignored: NDArray[np.bool_] | None = None) -> Picture:
    """Return the picture [H, W, 3] of unit vectors [3, H, W]: each component from [-1, 1] to a colour."""
    return blacken(_to_bytes((np.moveaxis(normals, 0, 2) + 1) / 2), ignored)


def _to_bytes(values: NDArray[Any]) -> Picture:
    levels: Picture = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels


def blacken(picture: Picture, ignored: NDArray[np.bool_] | None) -> Picture:
    """Make the ignored pixels of a picture black in place and return it."""
    if ignored is not None:
        picture[ignored] = 0
    return picture


UNLABELLED = (160, 160, 160)
"""Colour of pixels without an error, because nothing is known of them."""


@dataclass(frozen=True)
class Scale:
    """Colours of the values between two ends; what lies beyond has the colour of the end.

    Attributes:
        colours: Name of a matplotlib colour map.
        low: Value of its first colour.
        high: Value of its last colour.
        ticks: What is written at the first, the middle and the last colour.
        steps: How many values there are; the bar shows as many colours.
    """

    colours: str
    low: float
    high: float
    ticks: tuple[str, str, str]
    steps: int = 256

    def picture(self, values: NDArray[np.float32]) -> Picture:
        """Return the colours [H, W, 3] of values [H, W]; NaN has the colour of unlabelled pixels."""
        shares = (values - self.low) / (self.high - self.low)
        picture: Picture = colormaps[self.colours](shares, bytes=True)[:, :, :3].copy()
        picture[np.isnan(values)] = UNLABELLED
        return picture

    def bar(self, width: int, height: int) -> Picture:
        """Return the colours from the first to the last, [height, width, 3]."""
        shares = np.arange(width, dtype=np.float32) * self.steps // width / (self.steps - 1)
        row = self.low + shares * (self.high - self.low)
        return self.picture(np.repeat(row[None], height, axis=0))


# 10 m is the range of the Kinect of NYUD-v2.
DEPTH = Scale("viridis", 0, 10, ("0 m", "5", "10"))
PROBABILITY = Scale("gray", 0, 1, ("0", "probability", "1"))
WRONG = Scale("Reds", 0, 1, ("right", "(grey: no label)", "wrong"), steps=2)
DEPTH_ERROR = Scale("Reds", 0, 1, ("0 m", "0.5", "≥ 1"))
ANGLE_ERROR = Scale("Reds", 0, 60, ("0°", "30°", "≥ 60°"))
MISSED_OR_FALSE = Scale("RdBu_r", -1, 1, ("missed", "0", "false alarm"))
