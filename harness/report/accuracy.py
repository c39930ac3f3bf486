"""The columns of tasks and of the multi-task gain."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Gain, Record, units
from harness.records.groups import Group
from harness.records.metric import Metric
from harness.report.cells import Cell, Column, pooled
from harness.report.notes import Notes
from harness.tasks import TASKS

DELTA_M = Column("delta_m", "Δm %", "higher", "percent", "percent", signed=True)


@dataclass(frozen=True)
class _Place:
    task: str
    metric: str


class AccuracyColumns:
    """The columns of what the records score, in the order of the papers.

    Args:
        records: All records of the table.
        every: Whether all metrics have columns, or only the one of every task that the papers print.
    """

    def __init__(self, records: Sequence[Record], every: bool) -> None:
        self._columns: dict[_Place, Column] = {}
        for record in sorted(records, key=lambda record: -len(record.metrics)):  # who has all tasks gives the order
            for task, metrics in record.metrics.items():
                for name in list(metrics)[: None if every else 1]:
                    headline = name == next(iter(metrics))
                    self._columns.setdefault(_Place(task, name), _column(task, name, metrics[name], headline))
        tasks = list(dict.fromkeys(place.task for place in self._columns))
        self._columns = dict(sorted(self._columns.items(), key=lambda item: tasks.index(item[0].task)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns from left to right, without the gain."""
        return tuple(self._columns.values())

    def cells(self, group: Group) -> dict[str, Cell]:
        """Return the cells of a row, the gain among them."""
        cells: dict[str, Cell] = {
            column.key: pooled(_value(record, place) for record in group.records)
            for place, column in self._columns.items()
        }
        gains = (record.delta_m.value if record.delta_m else None for record in group.records)
        return cells | {DELTA_M.key: pooled(gains)}

    def note(self, group: Group, notes: Notes) -> None:
        """Say why figures of a row are missing."""
        for place, column in self._columns.items():
            metrics = [record.metrics.get(place.task, {}).get(place.metric) for record in group.records]
            _note(column.title, [metric for metric in metrics if metric is not None], group, notes)
        _note("Δm", [record.delta_m for record in group.records if record.delta_m is not None], group, notes)


def _note(title: str, values: Sequence[Metric | Gain], group: Group, notes: Notes) -> None:
    """Say why values of a row are missing; where some seeds have one, of how many the mean is."""
    known = sum(value.value is not None for value in values)
    for value in values:
        if value.reason:
            counted = f"mean of {known} of {len(group.records)} seeds; " if known else ""
            notes.add(title, f"{counted}{value.reason}", group.name)


def _column(task: str, name: str, metric: Metric, headline: bool) -> Column:
    unit = units.METRICS[metric.unit]
    cls = TASKS.get(task)
    what = units.METRIC_NAMES.get(name) or (cls.headline_title if cls and headline else name)
    return Column(
        key=f"{task}_{name}",
        title=f"{cls.title if cls else task} {what}",
        better="higher" if metric.higher_is_better else "lower",
        unit=metric.unit,
        shown=unit.word,
        scale=unit.factor,
        decimals=unit.decimals,
        ranked=True,
    )


def _value(record: Record, place: _Place) -> float | None:
    metric = record.metrics.get(place.task, {}).get(place.metric)
    return metric.value if metric else None
