"""Intervals of metrics and gains over the images they were measured on, and paired differences between methods.

A record names the file of its per-image values. Of these, the same draws of images are taken for all records of the
same images; a gain or a difference is computed draw by draw. Seeds of one configuration are averaged within a draw: the
interval is over images alone, for the models as they were trained, and says nothing of other seeds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import UsageError
from harness.files import sha256_of
from harness.records import Record
from harness.records.gain import gained
from harness.records.load import Stored
from harness.tasks.bootstrap import DRAWS, LEAST_IMAGES, LEVEL, Interval, draws_of, interval, resampled
from harness.tasks.images import Floats
from harness.tasks.per_image import PerImage, TaskImages, read_per_image

FACTS = {"level": LEVEL, "draws": DRAWS, "over": "images"}
"""The bootstrap, for programs."""


class NoIntervalError(Exception):
    """Says why a value has no interval."""


class NoValueError(NoIntervalError):
    """Says why there is no value to have an interval."""


@dataclass(frozen=True)
class Sample:
    """A value, and its values on the draws of images.

    Attributes:
        value: Of all images.
        draws: Of every draw, [draws].
        images: Ids of the images with a value.
    """

    value: float
    draws: Floats
    images: tuple[str, ...]

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Return the interval of the value."""
        return interval(self.value, self.draws, len(self.images), level)

    def less(self, other: "Sample") -> "Sample":
        """Return the difference to a value on the same images.

        Raises:
            NoIntervalError: the images differ.
        """
        return combined([self, other], lambda values: values[0] - values[1])


def combined(samples: Sequence[Sample], formula: Callable[[Floats], Floats]) -> Sample:
    """Return a function of several values on the same images.

    Args:
        samples: The values.
        formula: Takes [samples] or [samples, draws], and returns a number or [draws].

    Raises:
        NoIntervalError: the images differ.
    """
    first = samples[0]
    for other in samples[1:]:
        if other.images != first.images:
            raise NoIntervalError(_unlike(first.images, other.images))
    value = float(formula(np.array([sample.value for sample in samples])))
    return Sample(value, formula(np.stack([sample.draws for sample in samples])), first.images)


def _unlike(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Return how two sets of images differ."""
    apart = sorted(set(ours) ^ set(theirs))
    return f"the images differ: {len(ours)} and {len(theirs)}, of which {len(apart)} are in one alone, first {apart[0]}"


class Intervals:
    """Per-image values of records, read when they are first needed.

    Args:
        stored: The records with their places.
        every: Whether all metrics are wanted, not the headlines alone.
    """

    def __init__(self, stored: Iterable[Stored], every: bool = False) -> None:
        self._known = {one.record.run_id: one for one in stored}
        self._every = every
        self._files: dict[str, PerImage] = {}
        self._metrics: dict[tuple[str, str], Mapping[str, Floats]] = {}

    def metric(self, record: Record, task: str, name: str) -> Sample:
        """Return a metric of a record.

        Raises:
            NoIntervalError: it has no value, or the record no per-image values of it.
            UsageError: the file is missing, damaged, or not the record's.
        """
        metric = record.metrics.get(task, {}).get(name)
        if metric is None or metric.value is None:
            raise NoValueError(f"{task}: {(metric and metric.reason) or 'no value'}")
        values = self._values(record)
        if task not in values.tasks:
            raise NoIntervalError(f"{task}: no per-image values")
        images = values.tasks[task]
        ids = tuple(image for image, here in zip(values.ids, images.present, strict=True) if here)
        if len(ids) < LEAST_IMAGES:
            raise NoIntervalError(f"an interval over images takes {LEAST_IMAGES} or more, {len(ids)} here")
        found = self._metrics.get((record.run_id, task))
        if found is None:
            statistics = {name: rows[images.present] for name, rows in images.statistics.items()}
            found = resampled(images.meter, statistics, draws_of(len(ids)), self._every)
            self._metrics[record.run_id, task] = found
        if name not in found:
            raise NoIntervalError(f"{task}: {name} is not among the per-image values")
        return Sample(metric.value, found[name], ids)

    def gain(self, record: Record) -> Sample:
        """Return the multi-task gain of a record in percent, draw by draw against its reference.

        Raises:
            NoIntervalError: it has no gain, or the images differ.
            UsageError: a file is missing, damaged, or not its record's.
        """
        gain = record.delta_m
        if gain is None or gain.value is None or gain.reference is None:
            raise NoValueError((gain and gain.reason) or "no gain")
        stored = self._known.get(gain.reference) or self._beside(record, gain.reference)
        if stored is None:
            raise NoIntervalError("the record of its reference is not among the results")
        names = {task: self._name_of(record, task) for task in gained(record)}
        ours = [self.metric(record, task, name) for task, name in names.items()]
        theirs = [self.metric(stored.record, task, name) for task, name in names.items()]
        signs = np.array([1.0 if metric.higher_is_better else -1.0 for metric in gained(record).values()])

        def formula(values: Floats) -> Floats:
            measured, reference = np.split(values, 2)  # [tasks, ...] each
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(100 * np.tensordot(signs, (measured - reference) / reference, 1) / len(signs))

        return combined([*ours, *theirs], formula)

    def mean(self, records: Sequence[Record], pick: Callable[[Record], Sample]) -> Sample:
        """Return the mean of a value over seeds, draw by draw; seeds without a value are left out, as in tables.

        Raises:
            NoIntervalError: a seed has a value without per-image values, none has one, or their images differ.
            UsageError: a file is missing, damaged, or not its record's.
        """
        found: list[Sample] = []
        reason = "no value"
        for record in records:
            try:
                found.append(pick(record))
            except NoValueError as error:
                reason = str(error)
        if not found:
            raise NoValueError(reason)
        return combined(found, lambda values: values.mean(0))

    def _beside(self, record: Record, run_id: str) -> Stored | None:
        """Return a record of the same results folder that was not given itself."""
        own = self._known.get(record.run_id)
        other = own.neighbour(run_id) if own else None
        if own is None or other is None:
            return None
        root = own.path.absolute().parents[len(record.run_id.split("/"))]
        found = Stored(other, root / run_id / own.path.name)
        self._known[run_id] = found
        return found

    def _name_of(self, record: Record, task: str) -> str:
        """Return the metric of a task that the gain is of."""
        wanted = gained(record)[task]
        return next(name for name, metric in record.metrics[task].items() if metric is wanted)

    def _values(self, record: Record) -> PerImage:
        """Return the per-image values of a record, images in the order of their ids."""
        if record.run_id not in self._files:
            if record.per_image is None:
                raise NoIntervalError("no per-image values; they come with a new evaluation (--overwrite always)")
            stored = self._known.get(record.run_id)
            if stored is None:
                raise NoIntervalError("the place of its per-image values is not known")
            path = stored.path.parent / Path(record.per_image.file).name
            values = read_per_image(path)
            if sha256_of(path) != record.per_image.sha256:
                raise UsageError(f"{path}: its sha256 is not the one that the record names; it was changed")
            self._files[record.run_id] = _ordered(values)
        return self._files[record.run_id]


def _ordered(values: PerImage) -> PerImage:
    """Return per-image values with the images in the order of their ids: equal sets of images get equal draws."""
    order = np.argsort(np.array(values.ids), kind="stable")
    tasks = {
        name: TaskImages(
            task.meter,
            task.spec,
            {key: rows[order] for key, rows in task.statistics.items()},
            task.present[order],
        )
        for name, task in values.tasks.items()
    }
    return PerImage(values.protocol, [values.ids[place] for place in order], tasks)
