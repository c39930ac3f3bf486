"""Scoring a task on a part of the split only."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.data.sample import Sample
from harness.data.transforms import EvalTransform, Floats, Item
from harness.tasks.base import IGNORE


@dataclass(frozen=True)
class Subset:
    """Prepares scenes as ``inner`` does and ignores some labels outside a subset of the images.

    Attributes:
        inner: Prepares the scene.
        subsets: Label name to the only images it holds for.
    """

    inner: EvalTransform
    subsets: Mapping[str, frozenset[str]]

    @property
    def keeps_label_size(self) -> bool:
        """Whether labels stay as large as the image on disk."""
        return self.inner.keeps_label_size

    def __call__(self, sample: Sample) -> Item:
        """Return the prepared scene; a label that does not hold is 255 all over."""
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
