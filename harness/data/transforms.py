"""Transforms of scenes for models and meters: normalised images, labels with 255 where ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.sample import Array, Sample
from harness.tasks.base import IGNORE

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MEAN: Floats = np.array([0.485, 0.456, 0.406], np.float32)
STD: Floats = np.array([0.229, 0.224, 0.225], np.float32)
"""Mean and deviation of ImageNet's RGB in [0, 1], which every public encoder expects."""


@dataclass
class Item:
    """One scene ready to be stacked into a `harness.data.sample.Batch`.

    Attributes:
        id: Image id.
        image: Normalised RGB, [3, H, W].
        labels: Task name to [1, h, w] (normals [3, h, w]); 255 is ignored in every task.
        size: (height, width) of the image on disk.
        offset: (top, left) of the image inside the padded input.
    """

    id: str
    image: Floats
    labels: dict[str, Floats]
    size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)


class EvalTransform(Protocol):
    """Prepares scenes for evaluation; deterministic."""

    @property
    def keeps_label_size(self) -> bool:
        """True if labels stay as large as the image on disk, so that only equal sizes can share a batch."""

    def __call__(self, sample: Sample) -> Item:
        """Return the prepared scene."""

    def place(self, planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
        """Return a prediction laid where `__call__` lays the labels of its image.

        Args:
            planes: [C, h, w], of the whole image at any size, or laid out already.
            size: (height, width) of the image on disk.
            smooth: Resize bilinearly; otherwise take the nearest value, as for class indices.
        """

    def restore(self, planes: Floats, size: tuple[int, int]) -> Floats:
        """Return a prediction [C, H, W] at label size without its padding."""


def normalise(image: NDArray[Any]) -> Floats:
    """Return an image of values in [0, 255], [H, W, 3], as normalised planes [3, H, W]."""
    return normalise_(np.array(np.moveaxis(image, 2, 0), np.float32, order="C"))


def normalise_(planes: Floats) -> Floats:
    """Normalise planes [3, H, W] of values in [0, 255] in place and return them."""
    # (x / 255 - mean) / std per channel.
    planes /= 255
    planes -= MEAN[:, None, None]
    planes /= STD[:, None, None]
    return planes


def mark_ignored(task: str, label: Array) -> Floats:
    """Return a label as planes with 255 wherever it is invalid.

    Zero normals and zero depth are invalid. A map of human parts without any part is ignored as a whole, so
    that images without people do not count (ASTMT, Maninis et al., CVPR 2019).

    Args:
        task: Task name.
        label: As `harness.data.sample.Sample` describes it, [H, W] or [H, W, 3]. Left unchanged.

    Returns:
        A new array, [1, H, W] or [3, H, W].
    """
    # [1, H, W], or [3, H, W] for normals.
    planes = label[None] if label.ndim == 2 else np.moveaxis(label, 2, 0)
    marked = np.array(planes, dtype=np.float32, order="C")
    if task == "normals":
        invalid = ~marked.any(axis=0)  # over planes: forty times faster than over the last axis
        if invalid.any():
            marked[:, invalid] = IGNORE
    elif task == "depth":
        marked[marked == 0] = IGNORE
    elif task == "parts" and not ((label != 0) & (label != IGNORE)).any():
        marked[:] = IGNORE
    return marked


@dataclass(frozen=True)
class Subset:
    """Prepares scenes as ``inner`` does and ignores some labels outside a subset of the images.

    Attributes:
        inner: Prepares the scene.
        subsets: Label name to the only images that it is scored on.
    """

    inner: EvalTransform
    subsets: Mapping[str, frozenset[str]]

    @property
    def keeps_label_size(self) -> bool:
        """True if labels stay as large as the image on disk."""
        return self.inner.keeps_label_size

    def __call__(self, sample: Sample) -> Item:
        """Return the prepared scene; a label that is not scored on this image is 255 all over."""
        item = self.inner(sample)
        for label, ids in self.subsets.items():
            if label in item.labels and item.id not in ids:
                item.labels[label][:] = IGNORE
        return item

    def place(self, planes: Floats, size: tuple[int, int], smooth: bool) -> Floats:
        """Return a prediction laid where the labels of its image are."""
        return self.inner.place(planes, size, smooth)

    def restore(self, planes: Floats, size: tuple[int, int]) -> Floats:
        """Return a prediction without its padding."""
        return self.inner.restore(planes, size)
