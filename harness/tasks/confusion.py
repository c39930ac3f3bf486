"""Intersection over union, from one confusion matrix."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.records.metric import Metric
from harness.tasks.base import IGNORE, Meter
from harness.tasks.tally import tally

LABELS = 256
"""Values an 8-bit label can take."""

Skip = Literal["never", "zero-or-void", "single-value"]


class ConfusionMeter(Meter):
    """Mean intersection over union of a label task, pooled over the pixels of the split.

    IoU_c = TP_c / (TP_c + FP_c + FN_c) over pixels whose label is not 255 (Everingham et al., IJCV 2010,
    section 4.3). The state is one matrix of exact counts.
    """

    headline: ClassVar[str] = "miou"

    def __init__(self, task: str, num_classes: int, absent: Literal["zero", "nanmean"], skip: Skip = "never") -> None:
        """Make an empty meter.

        Args:
            task: Task name, the prefix of the protocol ids.
            num_classes: Classes C that are scored.
            absent: A class that is neither labelled nor predicted counts as 0, or is left out of the mean.
            skip: Images to leave out: ``zero-or-void``, whose label holds only 0 and 255;
                ``single-value``, whose label holds only 0 or only 255.
        """
        super().__init__()
        self.task = task
        self.num_classes = num_classes
        self.absent = absent
        self.skip = skip

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: scores [B, >= C, H, W] and labels [B, 1, H, W]."""
        if prediction.device.type == "cpu":
            self._add(tally(prediction.float(), target[:, 0], LABELS))
        else:
            self._add(_histogram(prediction.argmax(1), target, prediction.shape[1]))

    @torch.no_grad()
    def update_decoded(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: class indices [B, 1, H, W], wrong wherever they are C or more, and labels [B, 1, H, W]."""
        classes = self.num_classes + 1
        self._add(_histogram(prediction[:, 0].clamp(max=self.num_classes), target, classes))

    def _add(self, counts: Tensor) -> None:
        """Add the counts of a batch, [B, LABELS, channels]: label by predicted class."""
        if self.skip != "never":
            counts = counts[self._scored(counts.sum(2))]
        counts = counts.sum(0)
        # Labels past the last class cannot be hit; a prediction there is a false positive all the same. The scorer of
        # the sharing paper, which leaves absent classes out, ignores the label that equals the number of classes.
        first = self.num_classes + (self.absent == "nanmean")
        beyond = counts[first:IGNORE].sum(0, keepdim=True)
        self.add(confusion=torch.cat([counts[: self.num_classes], beyond]))

    def _scored(self, labels: Tensor) -> Tensor:
        """Return which images count, [B], from their label histograms [B, 256]."""
        if self.skip == "zero-or-void":
            return labels[:, 1:IGNORE].sum(1) > 0
        total = labels.sum(1)
        return (labels[:, 0] < total) & (labels[:, IGNORE] < total)

    def class_iou(self) -> Tensor:
        """Return the IoU of every class, float64 [C]; NaN where it is neither labelled nor predicted."""
        true_positive, labelled, predicted = self._counts()
        return true_positive / (labelled + predicted - true_positive)

    def compute(self) -> dict[str, Metric]:
        """Return mIoU by the protocol, mIoU over the classes that occur, pixel and mean class accuracy.

        With no scored pixel all are null: a 0 would read as if everything were wrong. Human parts are 0 where no image
        has a person, as their formula says.
        """
        true_positive, labelled, _ = self._counts()
        iou = self.class_iou()
        n = int(self._table().sum())
        headline = iou.nan_to_num(0).mean() if self.absent == "zero" and (n or self.skip != "never") else iou.nanmean()
        metrics = {
            "miou": (headline, f"miou@absent-{self.absent}"),
            "miou_present": (iou.nanmean(), "miou@present"),
            "pixel_acc": (true_positive.sum() / n, "pixel-acc"),
            "mean_acc": ((true_positive / labelled).nanmean(), "mean-acc"),
        }
        return {
            name: Metric.of(
                float(value),
                unit="fraction",
                higher_is_better=True,
                n=n,
                protocol=f"{self.task}.{convention}",
            )
            for name, (value, convention) in metrics.items()
        }

    def _table(self) -> Tensor:
        """Return the counts [C + 1, channels]: label by prediction, the last row for labels past C."""
        empty = torch.zeros(self.num_classes + 1, self.num_classes, dtype=torch.int64)
        return self.sums.get("confusion", empty).cpu()

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return true positives, labelled and predicted pixels of every class, float64 [C]."""
        table = self._table().double()
        return table.diagonal()[: self.num_classes], table.sum(1)[:-1], table.sum(0)[: self.num_classes]


def _histogram(predicted: Tensor, target: Tensor, channels: int) -> Tensor:
    """Return the counts [B, LABELS, channels] of predicted classes [B, H, W] and labels [B, 1, H, W]."""
    codes = torch.add(predicted, target[:, 0], alpha=channels).to(torch.int32)
    counts = torch.stack([torch.bincount(code.flatten(), minlength=LABELS * channels) for code in codes])
    return counts.view(-1, LABELS, channels)
