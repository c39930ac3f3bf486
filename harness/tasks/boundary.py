"""Boundary detection: the task, and its meter of odsF, oisF and AP, counted in workers while the model predicts."""

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.boundary import PLAIN_THRESHOLDS, SEISM_THRESHOLDS, BoundaryPool, BoundaryRule, Counts, Totals, count_image
from harness.errors import UsageError
from harness.problem import BOUNDARY_TRUTH
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.tasks.base import IGNORE, Meter, Task, Total, alone
from harness.tasks.pictures import MISSED_OR_FALSE, PROBABILITY, Scale, grey_picture

POOL_FROM_PIXELS = 2**16
"""Smaller maps take a few milliseconds each: they are counted at once, which saves starting the processes."""


class BoundaryMeter(Meter):
    """The boundary score of a split by one rule; see `harness.boundary`.

    Targets are the maps of true boundaries, 1 on a boundary and 0 elsewhere; what holds 255 around them is
    padding and is cut off, since the tolerance is a fraction of the original image's diagonal. Images without any
    valid pixel are skipped. The state is integer counts, so any split of the work gives the same values.
    """

    headline: ClassVar[str] = "odsf"

    def __init__(self, rule: BoundaryRule, convention: str) -> None:
        """Make an empty meter.

        Args:
            rule: How maps are thinned, matched and counted.
            convention: What the ids of the values say after the ``@``.
        """
        super().__init__()
        self.rule = rule
        self.convention = convention
        self._pool: BoundaryPool | None = None

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: logits [B, 1, H, W] and true boundaries [B, 1, H, W]."""
        self.update_decoded(prediction.sigmoid(), target)

    @torch.no_grad()
    def update_decoded(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities [B, 1, H, W], which are cut to 8 bits, and true boundaries [B, 1, H, W]."""
        maps = prediction[:, 0].mul(255).to(torch.uint8).cpu().numpy()
        truths = target[:, 0].to(torch.uint8).cpu().numpy()
        for levels, truth in zip(maps, truths, strict=True):
            box = valid_box(truth)
            if box is not None:
                self._count(np.ascontiguousarray(levels[box]), truth[box] == 1)

    def _count(self, levels: NDArray[np.uint8], truth: NDArray[np.bool_]) -> None:
        if levels.size < POOL_FROM_PIXELS:
            self._take(count_image(levels, truth, self.rule))
            return
        if self._pool is None:
            self._pool = BoundaryPool(self.rule)
        self._pool.submit("boundary map", levels, truth)

    def _take(self, counts: Counts) -> None:
        totals = Totals.of(counts)
        self.add(pooled=_stacked(totals.pooled), best=_stacked(totals.best), images=torch.tensor(totals.images))

    def _drain(self) -> None:
        if self._pool is not None:
            for _, counts in self._pool.results():
                self._take(counts)
            self._pool.close()
            self._pool = None

    def merge(self, other: Meter) -> None:
        """Add the counts of another meter of the same rule."""
        for meter in (self, other):
            assert isinstance(meter, BoundaryMeter)
            meter._drain()
        super().merge(other)

    def compute(self) -> dict[str, Metric]:
        """Return odsF, oisF and AP as fractions; n is the number of images."""
        self._drain()
        if not self.sums:
            return {name: self._figure(name, math.nan, 0) for name in ("odsf", "oisf", "ap")}
        images = int(self.sums["images"])
        score = Totals(_counts(self.sums["pooled"]), _counts(self.sums["best"]), images).score(self.rule)
        values = {"odsf": score.ods_f, "oisf": score.ois_f, "ap": score.ap}
        return {name: self._figure(name, value, images) for name, value in values.items()}

    def _figure(self, name: str, value: float, images: int) -> Metric:
        protocol = f"boundary.{name}@{self.convention}"
        return Metric.of(value, unit="fraction", higher_is_better=True, n=images, protocol=protocol)

    def close(self) -> None:
        """End the worker processes at once; what they have not counted is lost."""
        if self._pool is not None:
            self._pool.abort()
            self._pool = None


def valid_box(truth: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Return the rows and columns inside the padding of a label [H, W]; None where all of it is padding."""
    valid = truth != IGNORE
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if not rows.size:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _stacked(counts: Counts) -> Tensor:
    return torch.from_numpy(np.stack([counts.cnt_r, counts.sum_r, counts.cnt_p, counts.sum_p]))


def _counts(stacked: Tensor) -> Counts:
    return Counts(*stacked.numpy())


POSITIVE_WEIGHT = 0.95
"""Weight of a boundary pixel in the loss; the others weigh 1 minus this (Xie and Tu, ICCV 2015)."""


class Boundary(Task):
    """Boundary detection: weighted binary cross-entropy, scored by odsF."""

    name: ClassVar[str] = "boundary"
    title: ClassVar[str] = "Boundary"
    headline_title: ClassVar[str] = "odsF"
    higher_is_better: ClassVar[bool] = True
    weight: ClassVar[float] = 50.0
    key: ClassVar[Scale | str | None] = PROBABILITY
    error_text: ClassVar[str] = "mean |error| {:.3f}"
    error_scale: ClassVar[Scale] = MISSED_OR_FALSE

    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the cross-entropy of the sigmoid, weighted, mean over valid pixels; 0 if there is none."""
        valid = target != IGNORE
        edge = (target == 1).to(prediction.dtype)
        weight = valid * (edge * POSITIVE_WEIGHT + (1 - edge) * (1 - POSITIVE_WEIGHT))
        entropy = F.binary_cross_entropy_with_logits(prediction, edge, weight, reduction="sum")
        return total(entropy) / total(valid.sum()).clamp(min=1)

    def scored_label(self, protocol: Protocol) -> str:
        """Return the map predictions are matched with: the field's reference boundaries, or the training edges."""
        return BOUNDARY_TRUTH if protocol.boundary_gt == "seg2bmap" else self.name

    def meter(self, protocol: Protocol) -> BoundaryMeter:
        """Return the meter of odsF.

        Raises:
            UsageError: the data set does not say how far a match may lie.
        """
        if self.spec.tolerance is None:
            raise UsageError("task 'boundary' needs the tolerance of a match in its TaskSpec")
        nms = protocol.boundary_nms == "seism"
        rule = BoundaryRule(
            self.spec.tolerance,
            nms=nms,
            matcher=protocol.boundary_match,
            thresholds=SEISM_THRESHOLDS if nms else PLAIN_THRESHOLDS,
        )
        parts = (
            "seism" if nms else "no-nms",
            protocol.boundary_match,
            protocol.boundary_gt,
            protocol.boundary_set,
            f"{self.spec.tolerance:g}",
        )
        return BoundaryMeter(rule, ",".join(parts))

    def decode(self, prediction: Tensor) -> Tensor:
        """Return P(boundary), [B, 1, H, W]."""
        return prediction.float().sigmoid()

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the probability of one prediction [1, H, W] in grey."""
        return grey_picture(prediction[0].float().sigmoid().cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in grey; ignored pixels are black."""
        label = target[0].float().cpu().numpy()
        return grey_picture(label, label == IGNORE)

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the probability less the label, from -1 to 1, [H, W]; NaN where the label is ignored."""
        difference = self.decode(prediction[None])[0] - target
        return torch.where(target != IGNORE, difference, torch.nan)[0].cpu().numpy()
