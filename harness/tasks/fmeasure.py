"""Maximal F-measure of saliency maps, from one histogram of probabilities per image."""

from collections.abc import Callable
from functools import cache
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.tasks.base import IGNORE
from harness.tasks.images import Array, Description, Floats, ImageMeter, Statistic, View
from harness.tasks.tally import tally_bins

Mode = Literal["double-sigmoid", "pooled", "per-image", "per-image-uint8"]

POOLED_THRESHOLDS = torch.arange(0.05, 1, 0.05)
"""The 19 thresholds of ATRC (Bruggemann et al., ICCV 2021), float32."""

PER_IMAGE_THRESHOLDS = torch.linspace(0.2, 0.9, 15, dtype=torch.float64)
"""The 15 thresholds of ASTMT (Maninis et al., CVPR 2019)."""

POOLED_BETA2 = 0.3
"""Weight of precision in the pooled F-measure (Achanta et al., CVPR 2009)."""

_ONE_AS_INT = 0x3F800000
"""Bits of the float32 1.0. Non-negative floats have the order of their bits."""


@cache
def cutoffs(mode: Mode) -> Tensor:
    """Return the smallest float32 probability called salient at every threshold of ``mode``; inf if none is.

    Every mode is a monotone rule on the probability, so a cutoff says the same as the rule, to the last bit.
    It is found by bisection over the bits of a float.
    """
    called = _RULES[mode]
    size = len(called(torch.zeros(())))
    low = torch.zeros(size, dtype=torch.int32)
    high = torch.full((size,), _ONE_AS_INT + 1, dtype=torch.int32)
    while bool((low < high).any()):
        middle = (low + high) // 2
        hit = called(middle.view(torch.float32))
        high = torch.where(hit, middle, high)
        low = torch.where(hit, low, middle + 1).minimum(high)
    return torch.where(high > _ONE_AS_INT, torch.inf, high.view(torch.float32))


# Which probabilities each mode calls salient, at each of its thresholds.
_RULES: dict[Mode, Callable[[Tensor], Tensor]] = {
    "pooled": lambda p: p >= POOLED_THRESHOLDS,
    # InvPT hands its meter 255 p; the meter divides by 255 and applies the sigmoid again.
    "double-sigmoid": lambda p: (p * 255 / 255).sigmoid() >= POOLED_THRESHOLDS,
    "per-image": lambda p: p > PER_IMAGE_THRESHOLDS.float(),
    # 8-bit files are read as float32 and compared in float64.
    "per-image-uint8": lambda p: ((p * 255).floor() / 255).double() > PER_IMAGE_THRESHOLDS,
}


class FMeasureMeter(ImageMeter):
    """Maximum over thresholds of the F-measure, by one of the field's conventions.

    ``pooled``: true positives, predicted and actual pixels are summed over the split, then
    F = (1 + b2) P R / (b2 P + R) with b2 = 0.3. ``double-sigmoid``: the same on sigmoid(p); all published
    values of the InvPT line are of this kind, and it leaves five operating points. ``per-image``: P and R
    are averaged over images, b2 = 1; the mean IoU of the salient class is reported beside it (Maninis et
    al., CVPR 2019). The pooled value is reported under every mode, for it is the true one.

    Each probability is put into its bin between the cutoffs once; the counts at all thresholds are tail sums.
    """

    headline: ClassVar[str] = "maxf"

    def __init__(
        self, probability: Callable[[Tensor], Tensor], mode: Mode, void: Literal["ignored", "salient"]
    ) -> None:
        """Make an empty meter.

        Args:
            probability: Turns the raw prediction [B, C, H, W] into P(salient), float32 [B, H, W].
            mode: Convention of the headline.
            void: What a per-image mode does with label 255.
        """
        super().__init__()
        self.probability = probability
        self.mode = mode
        self.void = void
        edges = torch.cat([cutoffs("pooled"), cutoffs(mode)])
        self.edges = torch.tensor(sorted(set(edges[edges.isfinite()].tolist())))
        kinds = ("negative", "positive", "void")  # pixels of each label in every bin
        self.layout = dict.fromkeys(kinds, Statistic("count", (len(self.edges) + 1,)))

    @property
    def per_image(self) -> bool:
        """True if the headline averages over images."""
        return self.mode.startswith("per-image")

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: raw prediction [B, 1 or 2, H, W] and labels [B, 1, H, W] in {0, 1, 255}."""
        self._add(self.probability(prediction), target)

    @torch.no_grad()
    def update_decoded(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: P(salient) [B, 1, H, W] and labels [B, 1, H, W] in {0, 1, 255}."""
        self._add(prediction[:, 0], target)

    def _add(self, probability: Tensor, target: Tensor) -> None:
        if probability.device.type == "cpu":
            counts = tally_bins(probability, target[:, 0], self.edges, IGNORE + 1)
        else:
            counts = self._histogram(probability, target[:, 0])
        self.add_images(negative=counts[:, 0], positive=counts[:, 1], void=counts[:, IGNORE])

    def values(self, view: View) -> dict[str, Floats]:
        """Return ``maxf`` by the mode, ``maxf_pooled`` and, for the per-image modes, ``miou``."""
        headline = self._averaged(view) if self.per_image else {"maxf": self._pooled(view, self.mode)}
        return {**headline, "maxf_pooled": self._pooled(view, "pooled")}

    def describe(self, name: str) -> Description:
        """Return what is fixed of a metric."""
        convention = "maxf@pooled" if name == "maxf_pooled" else f"{name}@{self.mode}"
        return Description("fraction", True, f"saliency.{convention}")

    def scored(self, view: View) -> dict[str, int]:
        """Return the number of scored pixels, and of images where the headline averages over them."""
        pixels = int(view["negative"].sum() + view["positive"].sum())
        images = int(self._present(view).sum())
        return {"maxf": images if self.per_image else pixels, "miou": images, "maxf_pooled": pixels}

    @property
    def _size(self) -> int:
        return len(self.edges) + 1

    def _histogram(self, probability: Tensor, target: Tensor) -> Tensor:
        """Return the counts [B, 256, size] of labels and of the edges that probabilities reach, both [B, H, W]."""
        bins = torch.bucketize(probability, self.edges.to(probability.device), right=True)
        codes = (bins + target.long() * self._size).flatten(1)
        counts = torch.stack([torch.bincount(code, minlength=(IGNORE + 1) * self._size) for code in codes])
        return counts.view(-1, IGNORE + 1, self._size)

    def called(self, histogram: Array, mode: Mode) -> Array:
        """Return the pixels called salient at every threshold [..., T], from their bins [..., size]."""
        tails = histogram[..., ::-1].cumsum(-1)[..., ::-1]
        tails = np.concatenate([tails[..., 1:], np.zeros_like(tails[..., :1])], -1)
        # An infinite cutoff lies behind the last edge, where the tail is empty.
        return np.asarray(tails[..., np.searchsorted(self.edges.numpy(), cutoffs(mode).numpy())])

    def _pooled(self, view: View, mode: Mode) -> Floats:
        """Return the maximal F of the counts of all images."""
        negative, positive = view.total("negative"), view.total("positive")  # [..., size]
        hits = self.called(positive, mode)
        precision = hits / (hits + self.called(negative, mode))
        recall = hits / positive.sum(-1, keepdims=True)
        f = (1 + POOLED_BETA2) * precision * recall / (POOLED_BETA2 * precision + recall)
        scored = negative.sum(-1) + positive.sum(-1) > 0
        return np.where(scored, np.nan_to_num(f).max(-1), np.nan)

    def _positive(self, view: View) -> Array:
        """Return the histogram of the pixels that a per-image mode counts as salient, [N, size]."""
        return view["positive"] + view["void"] if self.void == "salient" else view["positive"]

    def _present(self, view: View) -> NDArray[np.bool_]:
        """Return which images have a scored pixel, [N]."""
        return np.asarray((view["negative"] + self._positive(view)).sum(1) > 0)

    def _averaged(self, view: View) -> dict[str, Floats]:
        """Return the F-measure of the mean precision and recall, and the mean Jaccard index, at their best."""
        positive, present = self._positive(view), self._present(view)
        hits = self.called(positive, self.mode)  # [N, T]
        called = hits + self.called(view["negative"], self.mode)
        actual = positive.sum(1, keepdims=True)
        union = called + actual - hits
        jaccard = np.where(union > 0, hits / np.maximum(union, 1), 1.0)
        counted = present[:, None]
        sums = (view.sum(one * counted) for one in (hits / (called + 1e-12), hits / (actual + 1e-12), jaccard))
        images = view.sum(present.astype(int))[..., None]
        precision, recall, overlap = (total / images for total in sums)  # [..., T]
        f = 2 * precision * recall / (precision + recall + 1e-12)
        return {"maxf": np.asarray(f.max(-1)), "miou": np.asarray(overlap.max(-1))}
