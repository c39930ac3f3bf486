"""odsF, oisF and AP of boundary maps, counted in worker processes while the model predicts."""

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.boundary import BoundaryPool, BoundaryRule, Counts, Totals, count_image
from harness.records.metric import Metric
from harness.tasks.base import IGNORE, Meter

POOL_FROM_PIXELS = 2**16
"""Smaller maps take a few milliseconds each: they are counted at once, which saves starting the processes."""


class BoundaryMeter(Meter):
    """The boundary score of a split by one rule; see `harness.boundary`.

    Targets are the maps of true boundaries, 1 on a boundary and 0 elsewhere; what holds 255 around them is
    padding and is cut off, since the tolerance is a share of the original image's diagonal. Images without any
    valid pixel are skipped. The state is integer counts, so any split of the work gives the same figures.
    """

    headline: ClassVar[str] = "odsf"

    def __init__(self, rule: BoundaryRule, convention: str) -> None:
        """Make an empty meter.

        Args:
            rule: How maps are thinned, matched and counted.
            convention: What the ids of the figures say after the ``@``.
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
