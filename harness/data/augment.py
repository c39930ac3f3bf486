"""Training-time augmentation as InvPT has it: scale, crop, flip, colours (Ye and Xu, ECCV 2022)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.data.geometry import Window, pad_item
from harness.data.photometric import distort_
from harness.data.sample import Sample
from harness.data.transforms import Item, mark_ignored, normalise_
from harness.tasks.base import IGNORE

_CROP_TRIES = 10
"""Draws of a crop at most: scenes of one class alone would be drawn without end."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training scene.

    Attributes:
        scale: Smallest and largest factor of the image's size; None to leave it.
        cat_max_ratio: A crop is drawn again, up to ten times, while one class covers this fraction of its labelled
            pixels or more; 1 takes the first crop. Needs semantic labels.
        flip: Mirror every second scene.
        photometric: Change brightness, contrast, saturation and hue.
    """

    scale: tuple[float, float] | None = (0.5, 2.0)
    cat_max_ratio: float = 0.75
    flip: bool = True
    photometric: bool = True

    @classmethod
    def light(cls) -> Self:
        """Return the augmentation of short trainings: flips alone, for more would only slow them down."""
        return cls(scale=None, cat_max_ratio=1.0, photometric=False)

    @classmethod
    def none(cls) -> Self:
        """Return no augmentation: a fixed scale and colours; larger images are still cropped at random."""
        return cls(scale=None, cat_max_ratio=1.0, flip=False, photometric=False)


@dataclass(frozen=True)
class TrainTransform:
    """Prepares scenes for training.

    Attributes:
        input_size: (height, width) of the model's input; larger images are cropped, smaller ones padded.
        augmentation: The random changes.
        tasks: Labels to prepare; None for all of the sample.
    """

    input_size: tuple[int, int]
    augmentation: Augmentation = Augmentation()
    tasks: tuple[str, ...] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Item:
        """Return the prepared scene; it follows from the sample and the state of ``rng`` alone."""
        # One scale for both sides, as in InvPT.
        scale = 1.0 if self.augmentation.scale is None else float(rng.uniform(*self.augmentation.scale))
        window = self._window(sample, scale, rng)
        # [3, h, w] in 0..255, contiguous for the changes in place below.
        planes = np.array(np.moveaxis(window.bilinear(sample.image), 2, 0), np.float32, order="C")
        if self.augmentation.photometric:
            distort_(planes, rng)
        labels = {}
        for task in sample.labels if self.tasks is None else self.tasks:
            part = window.nearest(sample.labels[task])
            if task == "depth":
                part /= scale  # an object that looks larger is nearer
            # A mirrored scene mirrors x, the first component.
            elif task == "normals" and window.mirrored:
                part[..., 0] *= -1
            labels[task] = mark_ignored(task, part)
        return pad_item(Item(sample.id, normalise_(planes), labels, window.size), self.input_size)

    def _window(self, sample: Sample, scale: float, rng: np.random.Generator) -> Window:
        """Draw the crop, again while one class fills it, and whether it is mirrored."""
        height, width = sample.image.shape[:2]
        scaled = max(1, int(height * scale)), max(1, int(width * scale))
        extent = min(scaled[0], self.input_size[0]), min(scaled[1], self.input_size[1])
        mirrored = self.augmentation.flip and bool(rng.random() < 0.5)
        semseg = sample.labels.get("semseg") if self.augmentation.cat_max_ratio < 1 else None
        # Draw a crop; again while one class fills too much of it, and keep the last one then.
        for _ in range(_CROP_TRIES):
            start = int(rng.integers(scaled[0] - extent[0] + 1)), int(rng.integers(scaled[1] - extent[1] + 1))
            window = Window((height, width), scaled, start, extent, mirrored)
            if semseg is None or extent == scaled:
                break
            # Pixels of each class in the crop, without the ignored ones. [255]
            counts = np.bincount(window.nearest(semseg).ravel(), minlength=IGNORE + 1)[:IGNORE]
            if counts.max() < self.augmentation.cat_max_ratio * counts.sum():
                break
        return window
