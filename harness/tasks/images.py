"""Statistics of single images, and the two ways to add them up: all images once, or random draws of them.

A metric is a formula on totals of per-image statistics. Written on a `View`, the same formula gives the value of a
split and, on draws with replacement, the values of a bootstrap (Efron and Tibshirani, 1993).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.records.metric import Metric, Unit
from harness.tasks.base import Meter

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """One statistic of an image.

    Attributes:
        kind: ``count``: integers, exact in any order. ``sum``: float64. ``values``: as many float32 as an image has;
            no view adds them up.
        shape: Shape of one image's; empty for a single number.
    """

    kind: Literal["count", "sum", "values"] = "count"
    shape: tuple[int, ...] = ()

    def empty(self, images: int) -> Array:
        """Return the statistic of images that have nothing to count, [images, *shape]."""
        if self.kind == "values":
            return objects([np.empty(0, np.float32)] * images)
        return np.zeros((images, *self.shape), np.int64 if self.kind == "count" else np.float64)


def objects(values: Sequence[Array]) -> Array:
    """Return arrays of any lengths as the elements of one, [N]."""
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found


class View(ABC):
    """Totals over images; every result has the leading shape ``()`` or, for D draws, ``(D,)``.

    Args:
        statistics: Name to the values of every image, [N, ...].
        every: Whether all metrics are wanted, or those alone that are quick to have, the headline among them.
    """

    whole: ClassVar[bool]
    """Whether every image counts once."""

    def __init__(self, statistics: Mapping[str, Array], every: bool = True) -> None:
        self.statistics = statistics
        self.every = every

    def __getitem__(self, name: str) -> Array:
        """Return a statistic of every image, [N, ...]."""
        return self.statistics[name]

    def total(self, name: str) -> Array:
        """Return the total of a statistic."""
        return self.sum(self.statistics[name])

    @abstractmethod
    def sum(self, values: Array) -> Array:
        """Return the total of values derived from the statistics, [N, ...]: integers stay whole numbers."""

    @abstractmethod
    def median(self, values: Floats, counted: NDArray[np.bool_]) -> Floats:
        """Return the median of values [N] over the images that are ``counted``; NaN where there are none."""


class Whole(View):
    """Every image once. Sums of floats are rounded once, so the order of the images does not matter."""

    whole = True

    def sum(self, values: Array) -> Array:
        """Return the exact total; of floats the nearest one to it."""
        if values.dtype.kind != "f":
            return np.asarray(values.sum(0, dtype=np.int64))
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        totals = [_exact_sum(column) for column in flat.T.tolist()]
        return np.array(totals, np.float64).reshape(values.shape[1:])

    def median(self, values: Floats, counted: NDArray[np.bool_]) -> Floats:
        """Return the median, the mean of the middle two where their number is even."""
        return np.asarray(np.median(values[counted]) if counted.any() else np.nan)


def _exact_sum(values: list[float]) -> float:
    """Return the correctly rounded sum; infinite and NaN terms, and sums beyond float64, as IEEE has them."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # of terms that cancel or exceed the range
        return float(np.sum(values))


class ImageMeter(Meter):
    """A meter whose state is one row of statistics per image, from which every metric follows.

    Rows of several processes are merged by concatenation; the order of the images never changes a value.
    """

    layout: Mapping[str, Statistic]
    """Name to form of every statistic."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, list[Tensor]] = {}

    def add_images(self, **values: Tensor) -> None:
        """Add the statistics of a batch, [B, ...] each; they stay on their device until they are read."""
        for name, value in values.items():
            self._rows.setdefault(name, []).append(value)

    def statistics(self) -> dict[str, Array]:
        """Return the statistics of all images in the order they came, [N, ...]; integers or float64."""
        found = {}
        for name, statistic in self.layout.items():
            batches = [value.cpu().numpy() for value in self._rows.get(name, [])]
            empty = statistic.empty(0)
            found[name] = np.concatenate([empty, *batches]).astype(empty.dtype)
        return found

    def settle(self) -> None:
        """Bring the rows to the CPU."""
        self._rows = {name: [value.cpu() for value in values] for name, values in self._rows.items()}

    def merge(self, other: Meter) -> None:
        """Add the images of another meter of the same kind behind those of this one."""
        assert isinstance(other, ImageMeter)
        for name, batches in other._rows.items():
            self._rows.setdefault(name, []).extend(batches)

    @abstractmethod
    def values(self, view: View) -> dict[str, Floats]:
        """Return the metrics of a view by name, the headline first; NaN where there is nothing to score.

        Args:
            view: Statistics as `layout` names them.
        """

    @abstractmethod
    def describe(self, name: str) -> "Description":
        """Return what is fixed of a metric by this name."""

    @abstractmethod
    def scored(self, view: View) -> Mapping[str, int] | int:
        """Return the number of pixels or images that the metrics are of, one for all or by name."""

    def compute(self) -> dict[str, Metric]:
        """Return the metrics so far, the headline first."""
        return self.metrics(self.statistics())

    def metrics(self, statistics: Mapping[str, Array]) -> dict[str, Metric]:
        """Return the metrics of statistics, whoever counted them."""
        view = Whole(statistics)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values, scored = self.values(view), self.scored(view)
        found = {}
        for name, value in values.items():
            what = self.describe(name)
            found[name] = Metric.of(
                float(value),
                unit=what.unit,
                higher_is_better=what.higher_is_better,
                n=scored if isinstance(scored, int) else scored[name],
                protocol=what.protocol,
            )
        return found


@dataclass(frozen=True)
class Description:
    """Unit, direction and convention of a metric."""

    unit: Unit
    higher_is_better: bool
    protocol: str
