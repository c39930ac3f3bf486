"""Colour scales of numbers, with the texts at the colour bar."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from harness.tasks.pictures import Picture

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
