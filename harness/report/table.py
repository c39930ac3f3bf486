"""The papers' table: one row per method, one column per task, costs beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from harness.metric import Metric
from harness.records import Record, conditions, headlines
from harness.report.cells import DASH, size, spread
from harness.report.cost_columns import OPTIONAL, CostColumns
from harness.tasks import TASKS

_SCALE = {"fraction": (100.0, 2), "m": (1.0, 4), "deg": (1.0, 2)}
"""Unit to (factor, decimals) of the papers: percent, metres, degrees."""


@dataclass(frozen=True)
class Table:
    """A rendered table.

    Attributes:
        frame: One row per method; all cells are text.
        caption: What the figures were measured on and how.
        notes: Why cells are empty, and warnings.
    """

    frame: pd.DataFrame
    caption: str
    notes: list[str]

    def to_markdown(self) -> str:
        """Return the table as Markdown with its caption and notes."""
        body = self.frame.to_markdown(index=False, disable_numparse=True, colalign=self._alignment())
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"{self.caption}\n\n{body}\n" + (f"\n{notes}" if notes else "")

    def print(self, console: Console) -> None:
        """Print the table to a terminal, or as plain text to a file or pipe."""
        table = RichTable(title=self.caption, caption="\n".join(self.notes) or None, box=box.SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for column, side in zip(self.frame.columns, self._alignment(), strict=True):
            table.add_column(column, justify="right" if side == "right" else "left", no_wrap=True)
        for row in self.frame.itertuples(index=False):
            table.add_row(*row)
        console.print(table)

    def _alignment(self) -> list[str]:
        return ["left" if column in ("Method", "Backbone") else "right" for column in self.frame.columns]


def build_table(records: Sequence[Record]) -> Table:
    """Return the table of records that are made under the same conditions; seeds of one method become mean ± std.

    Raises:
        ValueError: the conditions differ, or there are no records.
    """
    if len({conditions(record) for record in records}) != 1:
        raise ValueError("the records of one table must share data, protocol, input size, budget and precision")
    groups: dict[tuple[str | None, ...], list[Record]] = {}
    for record in records:
        key = (record.method.name, record.method.backbone, record.method.init, str(record.method.options))
        groups.setdefault(key, []).append(record)
    costs = CostColumns(records)
    frame = pd.DataFrame([_row(group, costs) for group in groups.values()]).fillna(DASH)
    frame = frame.drop(columns=[title for title in OPTIONAL if (frame[title] == DASH).all()])
    notes = [note for group in groups.values() for note in costs.notes(group, list(frame.columns))]
    return Table(frame, _caption(records, costs), [*_notes(records), *dict.fromkeys(notes)])


def _row(group: Sequence[Record], costs: CostColumns) -> dict[str, str]:
    first = group[0]
    row = {"Method": first.method.name, "Backbone": first.method.backbone or DASH}
    for task in first.metrics:
        row[_title(task)] = _cell([headlines(record)[task] for record in group])
    gains = [record.delta_m.value for record in group if record.delta_m and record.delta_m.value is not None]
    row["Δm % ↑"] = spread(gains, lambda value: f"{value:+.2f}")
    return row | costs.cells(group) | {"n": str(len(group))}


def _title(task: str) -> str:
    cls = TASKS[task]
    return f"{cls.title} {cls.headline_title} {'↑' if cls.higher_is_better else '↓'}"


def _cell(metrics: Sequence[Metric]) -> str:
    factor, decimals = _SCALE[metrics[0].unit]
    values = [metric.value * factor for metric in metrics if metric.value is not None]
    return spread(values, lambda value: f"{value:.{decimals}f}")


def _caption(records: Sequence[Record], costs: CostColumns) -> str:
    first = records[0]
    kind = "synthetic, rendered scenes" if first.dataset.synthetic else "real images"
    if first.costs_only:
        facts = [f"{first.dataset.name} (costs alone, on random images of {size(first)})", str(first.precision)]
    else:
        facts = [
            f"{first.dataset.name} ({kind}; build {first.dataset.build})",
            f"{first.dataset.n_evaluated} of {first.dataset.n_expected} {first.dataset.split} images",
            f"input {size(first)}",
            f"protocol {first.protocol_name}",
            f"budget {first.budget}, {first.precision}" if first.budget else "predictions made elsewhere",
        ]
    timed = costs.caption()
    return ", ".join([*facts, *([timed] if timed else []), first.source])


def _notes(records: Sequence[Record]) -> list[str]:
    notes: dict[str, None] = {}
    for record in records:
        for task, figure in headlines(record).items():
            if reason := figure.reason:
                notes[f"{_title(task)[:-2]}: {reason}"] = None
        if record.delta_m is not None and record.delta_m.reason:
            notes[f"Δm of {record.method.name}: {record.delta_m.reason}"] = None
        for warning in record.warnings:
            notes[warning] = None
    return list(notes)
