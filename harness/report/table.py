"""The papers' table: one row per method, one column per task, costs in the last columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.records import Record, conditions
from harness.records.groups import Group, groups_of
from harness.report.caption import caption, facts
from harness.report.cells import Cell, Column, Number, Style, pooled
from harness.report.columns import (
    ALWAYS,
    DELTA_M,
    LESS_EFFORT,
    LESS_EFFORT_NOTE,
    PAPER,
    WIDE,
    AccuracyColumns,
    CostColumns,
    task_title,
)
from harness.report.costs import cost_tables
from harness.report.grid import BACKBONE, METHOD, Notes, Row, Table, filled, mark
from harness.report.reported import INPUT, OTHER_REFERENCE, PRINTED, Sources, origin, printed_cells

if TYPE_CHECKING:  # numpy and the meters are imported where intervals are asked for
    from harness.report.intervals import Intervals, Sample

SEEDS = Column("n", "n", unit="seeds", decimals=0)

TASK = Column("task", "Task")
_WEIGHTS = Column("weight_density", "Own weights %", "lower", "fraction", "percent", 100.0)
_ROWS = Column("active_rows", "Active rows %", "lower", "fraction", "percent", 100.0)
_MACS = Column("task_macs", "MACs G", "lower", "MACs", "giga", 1e-9)
_ADDED = Column("added", "Added MB", "lower", "bytes", "mb", 1e-6)

_MEANING = {
    _WEIGHTS: "own weights: kept for this task, as a fraction of the encoder's",
    _ROWS: "active rows: computed for this task, as a fraction of all, mean over the blocks",
    _ADDED: "added MB: what the artifact is larger by than one that serves all other tasks",
    _MACS: "MACs: executed when this task alone is asked for, so what tasks share is in each of them",
}
"""Columns of the table of tasks, as in the sharing paper, and their meaning."""


def build_tables(records: Sequence[Record], style: Style = "paper", intervals: Intervals | None = None) -> list[Table]:
    """Return the tables of any records: one for each set of conditions, measured records first.

    Costs alone get the tables of ``harness bench``. In the style ``share`` a table of the tasks follows, for methods
    that share weights sparsely. With per-image values, accuracies and gains get their intervals over images.
    """
    # One table for each set of conditions; reported records have conditions that no measured one has.
    comparable: dict[tuple[object, ...], list[Record]] = {}
    for record in _ordered(records):
        comparable.setdefault(conditions(record), []).append(record)
    tables: list[Table] = []
    for group in comparable.values():
        if group[0].costs_only:
            continue
        tables.append(table := build_table(group, style, known=records, intervals=intervals))
        if style == "share" and (shares := sharing_table(groups_of(group), table.caption, dict(table.facts))):
            tables.append(shares)
    return tables + cost_tables([record for record in _ordered(records) if record.costs_only])


def _ordered(records: Sequence[Record]) -> list[Record]:
    """Return records in the order of rows: references first, then by name and settings; reported ones by backbone."""
    backbones = list(dict.fromkeys(record.method.backbone for record in records))

    def place(record: Record) -> tuple[Any, ...]:
        method = record.method
        if record.reported:
            return True, method.backbone is None, backbones.index(method.backbone)
        precision, seed = str(record.precision), record.seed or 0
        return False, not method.is_reference, method.name, str(method.backbone), str(method.options), precision, seed

    return sorted(records, key=place)


def build_table(
    records: Sequence[Record],
    style: Style = "paper",
    known: Sequence[Record] = (),
    intervals: Intervals | None = None,
) -> Table:
    """Return the table of records that are made under the same conditions; seeds of one method become mean ± std.

    Args:
        records: In the order of the rows.
        style: ``wide`` has all metrics and all costs.
        known: Further records that gains may have been taken against, to name them.
        intervals: Per-image values of the records; None for a table without intervals.

    Raises:
        ValueError: the conditions differ, or there are no records.
    """
    if len({conditions(record) for record in records}) != 1:
        raise ValueError("the records of one table must share data, protocol, input size, budget and precision")
    groups = groups_of(records)
    accuracy = AccuracyColumns(records, every=style == "wide")
    costs = CostColumns(groups, WIDE if style == "wide" else PAPER)
    sources = Sources(records, known)
    # Rows: accuracy, gain and costs, each the mean over the seeds.
    rows = []
    for group in groups:
        first = group.first
        cells: dict[str, Cell] = {METHOD.key: group.label, BACKBONE.key: first.method.backbone}
        cells |= accuracy.cells(group) | costs.cells(group) | printed_cells(first)
        gain = cells[DELTA_M.key]
        if isinstance(gain, Number) and sources.other_reference(first):
            cells[DELTA_M.key] = replace(gain, sign=OTHER_REFERENCE)
        if isinstance(gain, Number) and any(one.delta_m and one.delta_m.effort == "less" for one in group.records):
            cells[DELTA_M.key] = replace(gain, sign=LESS_EFFORT)
        of_row: dict[str, Any] = {"run_ids": [record.run_id for record in group.records]}
        if first.reported is None:
            cells[SEEDS.key] = pooled([len(group.records)])
            of_row["seeds"] = [record.seed for record in group.records]
        rows.append(Row(cells, sources.signs(first), of_row | origin(first)))

    # Columns: those that the papers print in any case, and those in which some row has a value.
    wanted = {METHOD, BACKBONE, DELTA_M, *accuracy.columns}
    wanted |= set() if records[0].reported else {*ALWAYS, SEEDS}
    order = (METHOD, BACKBONE, INPUT, *accuracy.columns, DELTA_M, *costs.columns, *PRINTED, SEEDS)
    wanted |= set(filled(order, rows))
    columns = tuple(column for column in order if column in wanted)

    # Notes: reasons of empty cells and warnings of all rows first, then those of costs.
    notes = Notes([group.name for group in groups])
    for group in groups:
        accuracy.note(group, notes)
        for record in group.records:
            for warning in record.warnings:
                notes.add("", warning, group.name)
    for group in groups:
        if group.first.reported is None:
            costs.note(group, columns, notes)
            costs.effort_note(group, notes)
    less = any(isinstance(gain := row.cells[DELTA_M.key], Number) and gain.sign == LESS_EFFORT for row in rows)

    # Gains over single-task nets on several backbones do not compare.
    one_backbone = len({record.method.backbone for record in records}) == 1
    ranked = [replace(column, ranked=one_backbone) if column == DELTA_M else column for column in columns]
    marked = mark(ranked, rows)
    found: dict[str, Any] = {}
    if intervals is not None:
        from harness.report.intervals import FACTS
        from harness.report.spread import NOTE

        found = {"intervals": FACTS}
        marked = _with_intervals(ranked, marked, groups, accuracy.picks(intervals), intervals, notes)
        notes.add("", NOTE, "")
    return Table(
        columns=columns,
        rows=marked,
        caption=caption(records, costs.caption(), [*records, *known]),
        notes=(*sources.notes(), *([LESS_EFFORT_NOTE] if less else []), *notes.lines(), *costs.session_notes()),
        facts=facts(records) | costs.facts() | found,
    )


def _with_intervals(
    columns: Sequence[Column],
    rows: Sequence[Row],
    groups: Sequence[Group],
    picks: Mapping[str, Callable[[Record], Sample]],
    intervals: Intervals,
    notes: Notes,
) -> tuple[Row, ...]:
    """Return the rows with intervals in their cells; notes say where there is none, and why."""
    from harness.report.spread import Spreads

    cells = [dict(row.cells) for row in rows]
    for column in columns:
        if column.key not in picks:
            continue
        spreads = Spreads(intervals, picks[column.key])
        found = spreads.cells([group.records for group in groups], [row.get(column.key) for row in cells], column)
        for row, cell in zip(cells, found, strict=True):
            row[column.key] = cell
        for place, reason in spreads.reasons.items():
            notes.add("interval", reason, groups[place].name)
    return tuple(replace(row, cells=shown) for row, shown in zip(rows, cells, strict=True))


def sharing_table(groups: Sequence[Group], caption: str, facts: dict[str, object]) -> Table | None:
    """Return the densities, the added bytes and the executed MACs of every task; None where no record has them.

    Args:
        groups: The rows of the papers' table.
        caption: Its caption.
        facts: Its conditions.
    """
    rows = []
    for group in groups:
        records = group.records
        for task in group.first.metrics:
            sparse = [record.sparsity[task] for record in records if task in record.sparsity]
            cells: dict[str, Cell] = {
                METHOD.key: group.label,
                BACKBONE.key: group.first.method.backbone,
                TASK.key: task_title(task),
                _WEIGHTS.key: pooled(sparsity.weight_density for sparsity in sparse),
                _ROWS.key: pooled(sparsity.active_rows for sparsity in sparse),
                _ADDED.key: pooled(record.storage.marginal_bytes.get(task) for record in records if record.storage),
                _MACS.key: pooled(record.macs.per_task.get(task) for record in records if record.macs),
                SEEDS.key: pooled([len(records)]),
            }
            if any(cells[column.key] is not None for column in _MEANING):
                rows.append(Row(cells, facts={"run_ids": [record.run_id for record in records]}))
    if not rows:
        return None
    shown = filled(tuple(_MEANING), rows)
    notes = tuple(_MEANING[column] for column in shown)
    return Table((METHOD, BACKBONE, TASK, *shown, SEEDS), tuple(rows), f"Task by task: {caption}", notes, facts)
