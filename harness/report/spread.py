"""Cells with intervals over images, and the mark of those that are not worse than the best for certain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from harness.records import Record, units
from harness.report.cells import ALIKE, Cell, Column, Number
from harness.report.intervals import Intervals, NoIntervalError, Sample
from harness.tasks.bootstrap import DRAWS, LEVEL

NOTE = (
    f"(±): half of the {100 * LEVEL:g} % interval over images, a bootstrap of {DRAWS} draws, for the models as they "
    f"were trained; ± alone is the standard deviation over seeds. {ALIKE}: the difference to the best of the column, "
    f"paired over images, is not significant at {100 * (1 - LEVEL):g} %"
)


@dataclass
class Spreads:
    """The intervals of one column.

    Attributes:
        intervals: Per-image values of the records.
        pick: The value of a record.
        scale: Factor from the values to those of the cells.
        reasons: Row to why it has no interval.
    """

    intervals: Intervals
    pick: Callable[[Record], Sample]
    scale: float = 1.0
    reasons: dict[int, str] = field(default_factory=dict)

    def cells(self, rows: Sequence[Sequence[Record]], cells: Sequence[Cell], column: Column) -> list[Cell]:
        """Return the cells of a column with their intervals and signs.

        Args:
            rows: The records of every row.
            cells: Their cells, marked.
            column: The column.
        """
        samples: dict[int, Sample] = {}
        shown = list(cells)
        for place, (records, cell) in enumerate(zip(rows, cells, strict=True)):
            if not isinstance(cell, Number):
                continue
            try:
                samples[place] = self.intervals.mean(records, self.pick)
            except NoIntervalError as error:
                self.reasons[place] = str(error)
                continue
            if found := samples[place].interval():
                shown[place] = replace(cell, low=found.low * self.scale, high=found.high * self.scale)
        best = next((place for place in samples if getattr(shown[place], "mark", None) == "best"), None)
        if best is None or not column.ranked:
            return shown
        for place, sample in samples.items():
            cell = shown[place]
            if place == best or not isinstance(cell, Number) or cell.sign:
                continue
            try:
                found = sample.less(samples[best]).interval()
            except NoIntervalError as error:
                self.reasons[place] = f"not compared with the best, {error}"
                continue
            if found is not None and found.holds(0.0):
                shown[place] = replace(cell, sign=ALIKE)
        return shown


def headline_spreads(intervals: Intervals, records: Sequence[Record], key: str) -> Spreads | None:
    """Return the intervals of the gain (``delta_m``) or of a task's headline metric, as it is shown.

    Args:
        intervals: Per-image values of the records.
        records: Records made under the same conditions.
        key: ``delta_m``, or a task; None is returned for all else.
    """
    if key == "delta_m":
        return Spreads(intervals, intervals.gain)
    metrics = next((record.metrics[key] for record in records if key in record.metrics), None)
    if metrics is None:
        return None
    name, metric = next(iter(metrics.items()))
    return Spreads(intervals, partial(intervals.metric, task=key, name=name), units.METRICS[metric.unit].factor)
