"""Semantic segmentation."""

from typing import ClassVar

from harness.protocol import Protocol
from harness.tasks.confusion import ConfusionMeter
from harness.tasks.labelling import LabelTask


class Semseg(LabelTask):
    """Semantic segmentation: cross-entropy, scored by mIoU."""

    name: ClassVar[str] = "semseg"
    title: ClassVar[str] = "SemSeg"
    weight: ClassVar[float] = 1.0

    def meter(self, protocol: Protocol) -> ConfusionMeter:
        """Return an empty mIoU meter."""
        return ConfusionMeter(self.name, self.num_classes, protocol.semseg_absent)
