"""How an image of any size becomes an input of one size, and how predictions get back to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from harness.data.geometry import centred_offset, pad_item
from harness.data.transforms import Floats, Item, normalise


@dataclass(frozen=True)
class Fit:
    """Pads an image that fits the input as `harness.data.geometry.Pad` does; a larger one is reduced until it fits.

    Attributes:
        input_size: (height, width) of the model's input.
    """

    input_size: tuple[int, int]

    def __call__(self, image: NDArray[np.uint8]) -> Floats:
        """Return an RGB image [H, W, 3] normalised and padded, [3, *input_size]."""
        size = image.shape[0], image.shape[1]
        fitted = self.fitted(size)
        if fitted != size:
            height, width = fitted
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        return pad_item(Item("", normalise(image), {}, fitted), self.input_size).image

    def restore(self, planes: Tensor, size: tuple[int, int]) -> Tensor:
        """Return raw maps at input size, [C, *input_size], without padding and at the size of the image, [C, H, W].

        They are resized bilinearly before they are decoded, as they are for scoring.
        """
        height, width = self.fitted(size)
        top, left = centred_offset((height, width), self.input_size)
        planes = planes[:, top : top + height, left : left + width]
        if (height, width) == size:
            return planes
        return F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that an image of ``size`` has inside the padding."""
        share = min(1.0, *(outer / inner for outer, inner in zip(self.input_size, size, strict=True)))
        height, width = (max(1, int(side * share + 1e-6)) for side in size)
        return height, width
