"""Intersection over union, from one confusion matrix."""

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.tasks.base import IGNORE
from harness.tasks.images import Array, Description, Floats, ImageMeter, Statistic, View, Whole
from harness.tasks.tally import tally

LABELS = 256
"""Values an 8-bit label can take."""

Skip = Literal["never", "zero-or-void", "single-value"]


class ConfusionMeter(ImageMeter):
    """Mean intersection over union of a label task, pooled over the pixels of the split.

    IoU_c = TP_c / (TP_c + FP_c + FN_c) over pixels whose label is not 255 (Everingham et al., IJCV 2010,
    section 4.3). The state is one matrix of exact counts per image.
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
        # Label by predicted class; the last row and column are of labels and predictions past C.
        self.layout = {"confusion": Statistic("count", (num_classes + 1, num_classes + 1))}

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
            counts = counts * self._scored(counts.sum(2))[:, None, None]
        # Labels past the last class cannot be hit; a prediction there is a false positive all the same. The scorer of
        # the sharing paper, which leaves absent classes out, ignores the label that equals the number of classes.
        first = self.num_classes + (self.absent == "nanmean")
        beyond = counts[:, first:IGNORE].sum(1, keepdim=True)
        table = torch.cat([counts[:, : self.num_classes], beyond], 1)
        known, other = table[..., : self.num_classes], table[..., self.num_classes :]
        self.add_images(confusion=torch.cat([known, other.sum(2, keepdim=True)], 2))

    def _scored(self, labels: Tensor) -> Tensor:
        """Return which images count, [B], from their label histograms [B, 256]."""
        if self.skip == "zero-or-void":
            return labels[:, 1:IGNORE].sum(1) > 0
        total = labels.sum(1)
        return (labels[:, 0] < total) & (labels[:, IGNORE] < total)

    def class_iou(self) -> Floats:
        """Return the IoU of every class, [C]; NaN where it is neither labelled nor predicted."""
        hits, labelled, predicted = self._counts(Whole(self.statistics()))
        with np.errstate(invalid="ignore"):
            return np.asarray(hits / (labelled + predicted - hits))

    def values(self, view: View) -> dict[str, Floats]:
        """Return mIoU by the protocol, mIoU over the classes that occur, pixel and mean class accuracy.

        With no scored pixel all are NaN: a 0 would read as if everything were wrong. Human parts are 0 where no image
        has a person, as their formula says.
        """
        hits, labelled, predicted = self._counts(view)  # [..., C]
        pixels = view.sum(view["confusion"].sum((1, 2)))
        iou = hits / (labelled + predicted - hits)
        present = nan_mean(iou)
        headline = present
        if self.absent == "zero":
            zeros = np.nan_to_num(iou).mean(-1)
            headline = zeros if self.skip != "never" else np.where(pixels > 0, zeros, present)
        return {
            "miou": np.asarray(headline),
            "miou_present": present,
            "pixel_acc": np.asarray(hits.sum(-1) / pixels),
            "mean_acc": nan_mean(hits / labelled),
        }

    def describe(self, name: str) -> Description:
        """Return what is fixed of a metric."""
        conventions = {
            "miou": f"miou@absent-{self.absent}",
            "miou_present": "miou@present",
            "pixel_acc": "pixel-acc",
            "mean_acc": "mean-acc",
        }
        return Description("fraction", True, f"{self.task}.{conventions[name]}")

    def scored(self, view: View) -> int:
        """Return the number of scored pixels."""
        return int(view.total("confusion").sum())

    def _counts(self, view: View) -> tuple[Array, Array, Array]:
        """Return true positives, labelled and predicted pixels of every class, [..., C]."""
        table, classes = view["confusion"], self.num_classes  # [N, C + 1, C + 1]
        diagonal = table[:, np.arange(classes), np.arange(classes)]
        return view.sum(diagonal), view.sum(table.sum(2)[:, :classes]), view.sum(table.sum(1)[:, :classes])


def nan_mean(values: Floats) -> Floats:
    """Return the mean of the values over the last axis that are numbers; NaN where none is."""
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(-1) / known.sum(-1))


def _histogram(predicted: Tensor, target: Tensor, channels: int) -> Tensor:
    """Return the counts [B, LABELS, channels] of predicted classes [B, H, W] and labels [B, 1, H, W]."""
    codes = torch.add(predicted, target[:, 0], alpha=channels).to(torch.int32)
    counts = torch.stack([torch.bincount(code.flatten(), minlength=LABELS * channels) for code in codes])
    return counts.view(-1, LABELS, channels)
