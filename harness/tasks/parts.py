"""Human part segmentation."""

from typing import ClassVar

from harness.protocol import Protocol
from harness.tasks.confusion import ConfusionMeter
from harness.tasks.labelling import LabelTask


class Parts(LabelTask):
    """Human part segmentation: cross-entropy, scored by mIoU over the parts and the background.

    Images without a person are skipped; in the others the background counts everywhere.
    """

    name: ClassVar[str] = "parts"
    title: ClassVar[str] = "Parsing"
    weight: ClassVar[float] = 2.0

    def meter(self, protocol: Protocol) -> ConfusionMeter:
        """Return an empty mIoU meter; a part that never occurs counts as 0."""
        return ConfusionMeter(self.name, self.num_classes, "zero", protocol.parts_skip)
