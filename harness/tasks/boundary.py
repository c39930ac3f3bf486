"""Boundary detection: the task, and its meter of odsF, oisF and AP, counted in workers while the model predicts."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.boundary import PLAIN_THRESHOLDS, SEISM_THRESHOLDS, BoundaryPool, BoundaryRule, Counts, count_image
from harness.boundary.scoring import average_precision, f_measure, precision_recall
from harness.errors import UsageError
from harness.problem import BOUNDARY_TRUTH
from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Meter, Task, Total, alone
from harness.tasks.facts import TASK_FACTS
from harness.tasks.images import Array, Description, Floats, ImageMeter, Statistic, View
from harness.tasks.pictures import MISSED_OR_FALSE, PROBABILITY, Scale, grey_picture

POOL_FROM_PIXELS = 2**16
"""Smaller maps take a few milliseconds each: they are counted at once, which saves starting the processes."""


class BoundaryMeter(ImageMeter):
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
        # Of an image: matched and all pixels of the true boundaries, the same of the prediction, at every threshold.
        self.layout = {"images": Statistic(), "counts": Statistic("count", (4, len(rule.thresholds)))}
        self._counted: list[Array | None] = []  # by image; None while a worker counts it
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
            if box is None:
                self._counted.append(np.zeros(0, np.int64))
            else:
                self._count(np.ascontiguousarray(levels[box]), truth[box] == 1)

    def _count(self, levels: NDArray[np.uint8], truth: NDArray[np.bool_]) -> None:
        if levels.size < POOL_FROM_PIXELS:
            self._counted.append(_stacked(count_image(levels, truth, self.rule)))
            return
        if self._pool is None:
            self._pool = BoundaryPool(self.rule)
        self._pool.submit("boundary map", levels, truth)
        self._counted.append(None)

    def _drain(self) -> None:
        if self._pool is not None:
            waiting = (place for place, counts in enumerate(self._counted) if counts is None)
            for place, (_, counts) in zip(list(waiting), self._pool.results(), strict=True):
                self._counted[place] = _stacked(counts)
            self._pool.close()
            self._pool = None

    def statistics(self) -> dict[str, Array]:
        """Return the counts of all images, when the workers are done; zeros for those without any valid pixel."""
        self._drain()
        scored = [counts is not None and counts.size > 0 for counts in self._counted]
        counts = self.layout["counts"].empty(len(scored))
        for place, one in enumerate(self._counted):
            if scored[place]:
                counts[place] = one
        return {"images": np.array(scored, np.int64), "counts": counts}

    def settle(self) -> None:
        """Wait for the workers."""
        self._drain()

    def merge(self, other: Meter) -> None:
        """Add the counts of another meter of the same rule."""
        assert isinstance(other, BoundaryMeter)
        self._drain()
        other._drain()
        self._counted += other._counted

    def values(self, view: View) -> dict[str, Floats]:
        """Return odsF, at the best threshold of the view, oisF and AP, as fractions."""
        images = view.total("images")
        precision, recall = precision_recall(_counts(view.total("counts")))  # [..., T]
        # OIS: every image at its own best threshold.
        single = _counts(view["counts"])
        best = np.argmax(f_measure(*precision_recall(single)), -1)[:, None]  # [N, 1]
        at_best = np.stack([np.take_along_axis(one, best, 1) for one in _arrays(single)], 1)  # [N, 4, 1]
        found = {
            "odsf": f_measure(precision, recall).max(-1),
            "oisf": f_measure(*precision_recall(_counts(view.sum(at_best))))[..., 0],
        }
        if view.every:  # one curve after the other, which takes a second for 10 000 draws
            found["ap"] = _average_precision(precision, recall)
        return {name: np.where(images > 0, value, np.nan) for name, value in found.items()}

    def describe(self, name: str) -> Description:
        """Return what is fixed of a metric."""
        return Description("fraction", True, f"boundary.{name}@{self.convention}")

    def scored(self, view: View) -> int:
        """Return the number of scored images."""
        return int(view["images"].sum())

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


def _arrays(counts: Counts) -> tuple[Array, Array, Array, Array]:
    return counts.cnt_r, counts.sum_r, counts.cnt_p, counts.sum_p


def _stacked(counts: Counts) -> Array:
    """Return counts as one array, [4, T]."""
    return np.stack(_arrays(counts))


def _counts(stacked: Array) -> Counts:
    """Return counts [..., T] of one array, [..., 4, T]."""
    return Counts(*np.moveaxis(stacked, -2, 0))


def _average_precision(precision: Floats, recall: Floats) -> Floats:
    """Return the average precision of each curve, [...], from curves [..., T]."""
    curves = (one.reshape(-1, precision.shape[-1]) for one in (precision, recall))
    found = [average_precision(*curve) for curve in zip(*curves, strict=True)]
    return np.array(found, np.float64).reshape(precision.shape[:-1])


POSITIVE_WEIGHT = 0.95
"""Weight of a boundary pixel in the loss; the others weigh 1 minus this (Xie and Tu, ICCV 2015)."""


class Boundary(Task):
    """Boundary detection: weighted binary cross-entropy, scored by odsF."""

    name: ClassVar[str] = "boundary"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]
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
