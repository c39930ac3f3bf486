"""Maximal F-measure of saliency maps, from one histogram of probabilities per image."""

from collections.abc import Callable
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.records.metric import Metric
from harness.tasks.base import IGNORE, Meter, wide_float
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


class FMeasureMeter(Meter):
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
        negative, positive = counts[:, 0], counts[:, 1]
        self.add(negative=negative.sum(0), positive=positive.sum(0))
        if self.per_image:
            if self.void == "salient":
                positive = positive + counts[:, IGNORE]
            self._add_images(negative, positive)

    def compute(self) -> dict[str, Metric]:
        """Return ``maxf`` by the mode, ``maxf_pooled`` and, for the per-image modes, ``miou``."""
        figures = self._image_figures() if self.per_image else {"maxf": self._pooled(self.mode)}
        return {**figures, "maxf_pooled": self._pooled("pooled")}

    @property
    def _size(self) -> int:
        return len(self.edges) + 1

    def _histogram(self, probability: Tensor, target: Tensor) -> Tensor:
        """Return the counts [B, 256, size] of labels and of the edges that probabilities reach, both [B, H, W]."""
        bins = torch.bucketize(probability, self.edges.to(probability.device), right=True)
        codes = (bins + target.long() * self._size).flatten(1)
        counts = torch.stack([torch.bincount(code, minlength=(IGNORE + 1) * self._size) for code in codes])
        return counts.view(-1, IGNORE + 1, self._size)

    def _called(self, histogram: Tensor, mode: Mode) -> Tensor:
        """Return the pixels called salient at every threshold [..., T], from their bins [..., size]."""
        tails = histogram.flip(-1).cumsum(-1).flip(-1)
        tails = torch.cat([tails[..., 1:], torch.zeros_like(tails[..., :1])], dim=-1)
        # An infinite cutoff lies behind the last edge, where the tail is empty.
        return tails[..., torch.searchsorted(self.edges, cutoffs(mode)).to(tails.device)]

    def _pooled(self, mode: Mode) -> Metric:
        empty = torch.zeros(self._size, dtype=torch.int64)
        negative = self.sums.get("negative", empty).cpu()
        positive = self.sums.get("positive", empty).cpu()
        n = int(negative.sum() + positive.sum())
        hits = self._called(positive, mode).double()
        precision = hits / (hits + self._called(negative, mode))
        recall = hits / positive.sum()
        f = (1 + POOLED_BETA2) * precision * recall / (POOLED_BETA2 * precision + recall)
        best = float(f.nan_to_num(0).max()) if n else torch.nan
        return Metric.of(best, unit="fraction", higher_is_better=True, n=n, protocol=f"saliency.maxf@{mode}")

    def _add_images(self, negative: Tensor, positive: Tensor) -> None:
        """Add precision, recall and Jaccard index of every image that has a scored pixel."""
        present = (negative + positive).sum(1) > 0
        dtype = wide_float(positive.device)
        hits = self._called(positive, self.mode).to(dtype)[present]
        called = hits + self._called(negative, self.mode).to(dtype)[present]
        actual = positive.sum(1, keepdim=True).to(dtype)[present]
        union = called + actual - hits
        self.add(
            precision=(hits / (called + 1e-12)).sum(0),
            recall=(hits / (actual + 1e-12)).sum(0),
            jaccard=torch.where(union > 0, hits / union, 1.0).sum(0),
            images=present.sum(),
        )

    def _image_figures(self) -> dict[str, Metric]:
        n = int(self.sums["images"]) if self.sums else 0
        maxf = miou = torch.nan
        if n:
            precision, recall, jaccard = (self.sums[k].cpu() / n for k in ("precision", "recall", "jaccard"))
            maxf = float((2 * precision * recall / (precision + recall + 1e-12)).max())
            miou = float(jaccard.max())
        return {
            name: Metric.of(value, unit="fraction", higher_is_better=True, n=n, protocol=f"saliency.{name}@{self.mode}")
            for name, value in (("maxf", maxf), ("miou", miou))
        }
