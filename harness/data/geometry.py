"""Geometry of inputs: padding, resizing or cropping images of any size to one size, and back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from harness.data.sample import Sample
from harness.data.transforms import EvalTransform, Floats, Item, mark_ignored, normalise
from harness.errors import DataError
from harness.tasks.base import IGNORE

Geometry = Literal["pad", "resize", "crop"]


def eval_transform(geometry: Geometry, input_size: tuple[int, int]) -> EvalTransform:
    """Return the evaluation transform called ``geometry`` for inputs of ``input_size`` (height, width)."""
    transforms: dict[Geometry, Callable[[tuple[int, int]], EvalTransform]] = {
        "pad": Pad,
        "resize": Resize,
        "crop": CenterCrop,
    }
    return transforms[geometry](input_size)


def centred_offset(size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """Return (top, left) of an image in the middle of a larger input; an odd rest goes below and right.

    Raises:
        DataError: the image does not fit.
    """
    if fault := size_fault(size, input_size):
        raise DataError(fault)
    return (input_size[0] - size[0]) // 2, (input_size[1] - size[1]) // 2


def size_fault(size: tuple[int, int], input_size: tuple[int, int]) -> str | None:
    """Say why an image of ``size`` (height, width) cannot be padded to ``input_size``; None where it can."""
    if size[0] <= input_size[0] and size[1] <= input_size[1]:
        return None
    return (
        f"an image of {size[0]}x{size[1]} does not fit the input of {input_size[0]}x{input_size[1]}; "
        f"choose a larger input size or another geometry"
    )


def pad_item(item: Item, input_size: tuple[int, int]) -> Item:
    """Return an item padded around its centre: images with 0, which is the mean colour, labels with 255."""
    # [3, H, W] into the middle of [3, *input_size]; padding of labels is ignored by losses and meters.
    size = item.image.shape[1], item.image.shape[2]
    top, left = centred_offset(size, input_size)
    labels = {task: _pad(planes, input_size, (top, left), IGNORE) for task, planes in item.labels.items()}
    return Item(item.id, _pad(item.image, input_size, (top, left), 0), labels, item.size, (top, left))


def _pad(planes: Floats, size: tuple[int, int], offset: tuple[int, int], value: float) -> Floats:
    channels, height, width = planes.shape
    if (height, width) == size:
        return planes
    padded = np.full((channels, *size), value, np.float32)
    padded[:, offset[0] : offset[0] + height, offset[1] : offset[1] + width] = planes
    return padded


@dataclass(frozen=True)
class Pad:
    """Pads normalised images and their labels to the input size (ATRC, InvPT, TaskPrompter).

    Attributes:
        input_size: (height, width), at least that of every image.
    """

    input_size: tuple[int, int]
    keeps_label_size: ClassVar[bool] = False

    def __call__(self, sample: Sample) -> Item:
        """Return the padded scene.

        Raises:
            DataError: the image does not fit.
        """
        # Labels first: what is invalid becomes 255 as the padding will be.
        labels = {task: mark_ignored(task, label) for task, label in sample.labels.items()}
        size = sample.image.shape[0], sample.image.shape[1]
        return pad_item(Item(sample.id, normalise(sample.image), labels, size), self.input_size)

    def place(self, planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
        """Return a prediction padded with 0; one at input size counts as padded already."""
        if planes.shape[1:] == self.input_size:
            return planes
        planes = resize_planes(planes, size, smooth)
        return _pad(planes, self.input_size, centred_offset(size, self.input_size), 0)

    def restore(self, planes: Floats, size: tuple[int, int]) -> Floats:
        """Return a padded prediction cut back to its image."""
        top, left = centred_offset(size, self.input_size)
        return planes[:, top : top + size[0], left : left + size[1]]


@dataclass(frozen=True)
class Resize:
    """Resizes images to the input size with cubic interpolation; labels keep their size (ASTMT, MTI-Net).

    Predictions are to be resized to the labels before they are scored.

    Attributes:
        input_size: (height, width).
    """

    input_size: tuple[int, int]
    keeps_label_size: ClassVar[bool] = True

    def __call__(self, sample: Sample) -> Item:
        """Return the resized scene."""
        labels = {task: mark_ignored(task, label) for task, label in sample.labels.items()}
        size = sample.image.shape[0], sample.image.shape[1]
        # Only the image: the labels keep their size, and predictions are resized to them.
        image = resize(sample.image.astype(np.float32), self.input_size, "bicubic")
        return Item(sample.id, normalise(image), labels, size)

    def place(self, planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
        """Return a prediction at the size of its image."""
        return resize_planes(planes, size, smooth)

    def restore(self, planes: Floats, size: tuple[int, int]) -> Floats:
        """Return a prediction as it is: it has no padding."""
        return planes


@dataclass(frozen=True)
class CenterCrop:
    """Resizes the shorter side to the input's and crops the centre: 416x416 in Shoouri et al. (ICCV 2023) on NYUD-v2.

    The sides of the image are neither seen nor scored, so results are not comparable with those of the other
    geometries.

    Attributes:
        input_size: (height, width), both equal.
    """

    input_size: tuple[int, int]
    keeps_label_size: ClassVar[bool] = False

    def __call__(self, sample: Sample) -> Item:
        """Return the cropped scene."""
        height, width = sample.image.shape[:2]
        # The same window cuts the image and its labels.
        window = self._window((height, width))
        labels = {task: mark_ignored(task, window.nearest(label)) for task, label in sample.labels.items()}
        # Rounded, as the published pipeline resizes images of whole numbers. [side, side, 3]
        image = np.rint(window.bilinear(sample.image.astype(np.float32)))
        return Item(sample.id, normalise(image), labels, (height, width))

    def place(self, planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
        """Return the crop of a prediction; one at input size counts as cropped already."""
        if planes.shape[1:] == self.input_size:
            return planes
        window = self._window(size)
        image = np.moveaxis(resize_planes(planes, size, smooth), 0, 2)
        return np.moveaxis(window.bilinear(image) if smooth else window.nearest(image), 2, 0)

    def restore(self, planes: Floats, size: tuple[int, int]) -> Floats:
        """Return a prediction as it is: the sides of the image were never predicted."""
        return planes

    def _window(self, size: tuple[int, int]) -> "Window":
        # Scale so that the shorter side becomes the input's, then the middle of the longer one.
        side = min(self.input_size)
        scale = side / min(size)
        scaled = round(size[0] * scale), round(size[1] * scale)
        return Window(size, scaled, ((scaled[0] - side) // 2, (scaled[1] - side) // 2), (side, side))


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
        # Padding off first, then back to the size of the image.
        height, width = self.fitted(size)
        top, left = centred_offset((height, width), self.input_size)
        planes = planes[:, top : top + height, left : left + width]
        if (height, width) == size:
            return planes
        return F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that an image of ``size`` has inside the padding."""
        # Never enlarged; a millionth against rounding down where the sides fit exactly.
        share = min(1.0, *(outer / inner for outer, inner in zip(self.input_size, size, strict=True)))
        height, width = (max(1, int(side * share + 1e-6)) for side in size)
        return height, width


@dataclass(frozen=True)
class Window:
    """A window of a resized image.

    Attributes:
        size: (height, width) of the image.
        scaled: (height, width) it is resized to.
        start: (top, left) of the window in the resized image.
        extent: (height, width) of the window.
        mirrored: Whether the window is flipped from left to right.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    start: tuple[int, int]
    extent: tuple[int, int]
    mirrored: bool = False

    def nearest(self, label: NDArray[Any]) -> NDArray[Any]:
        """Return the window of a label [H, W, ...], resized by taking the nearest value to the upper left."""
        # floor(i * size / scaled): OpenCV's nearest neighbour, to the upper left.
        rows, columns = (
            np.arange(start, start + extent) * size // scaled
            for start, extent, size, scaled in zip(self.start, self.extent, self.size, self.scaled, strict=True)
        )
        return label.take(rows, axis=0).take(columns[::-1] if self.mirrored else columns, axis=1)

    def bilinear(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the window of an image [H, W, 3], resized with bilinear interpolation."""
        # [H, W, 3] at the scaled size, of which the window is a view.
        if self.scaled != self.size:
            image = resize(image, self.scaled, "bilinear")
        (top, left), (height, width) = self.start, self.extent
        window = image[top : top + height, left : left + width]
        return window[:, ::-1] if self.mirrored else window


def resize(image: NDArray[Any], size: tuple[int, int], mode: Literal["bilinear", "bicubic"]) -> NDArray[Any]:
    """Return an image [H, W, 3] resized without antialiasing, pixel centres at half integers.

    This is the sampling of the interpolation that published pipelines use (cubic with a = -0.75).
    """
    return np.moveaxis(_interpolate(np.moveaxis(image, 2, 0), size, mode), 0, 2)


def at_label_size(prediction: Tensor, label: Tensor) -> Tensor:
    """Resize a raw prediction bilinearly to the label's size where the protocol scores at another size."""
    if prediction.shape[-2:] == label.shape[-2:]:
        return prediction
    return F.interpolate(prediction, size=label.shape[-2:], mode="bilinear", align_corners=False)


def resize_planes(planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
    """Return maps [C, H, W] at ``size``: bilinear, or the nearest value to the upper left."""
    if planes.shape[1:] == size:
        return planes
    return _interpolate(planes, size, "bilinear" if smooth else "nearest")


def _interpolate(planes: NDArray[Any], size: tuple[int, int], mode: str) -> NDArray[Any]:
    # torch warns about read-only arrays, as the cache gives them.
    writable = planes if planes.flags.writeable else planes.copy()
    aligned = False if mode in ("bilinear", "bicubic") else None
    resized: NDArray[Any] = F.interpolate(torch.from_numpy(writable)[None], size, mode=mode, align_corners=aligned)[
        0
    ].numpy()
    return resized
