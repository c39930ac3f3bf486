"""The papers' table: one row per method, one column per task, costs beside them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from harness.records import Record, conditions
from harness.records.groups import Group, groups_of
from harness.report.accuracy import DELTA_M, AccuracyColumns
from harness.report.caption import caption, facts
from harness.report.cells import Cell, Column, pooled
from harness.report.cost_columns import ALWAYS, PAPER, WIDE, CostColumns
from harness.report.costs import cost_tables
from harness.report.grid import BACKBONE, METHOD, Row, Table
from harness.report.marks import mark
from harness.report.notes import Notes
from harness.report.reported import INPUT, PRINTED, Sources, origin, printed_cells
from harness.report.sharing import sharing_table

Style = Literal["paper", "share", "wide"]

SEEDS = Column("n", "n", unit="seeds", decimals=0)


def build_tables(records: Sequence[Record], style: Style = "paper") -> list[Table]:
    """Return the tables of any records: one for each set of conditions, measured records first.

    Costs alone get the tables of ``harness bench``. In the style ``share`` a table of what each task has of its own
    follows where records tell it.
    """
    alike: dict[tuple[object, ...], list[Record]] = {}
    for record in _ordered(records):
        alike.setdefault(conditions(record), []).append(record)
    tables: list[Table] = []
    for group in alike.values():
        if group[0].costs_only:
            continue
        tables.append(table := build_table(group, style, known=records))
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


def build_table(records: Sequence[Record], style: Style = "paper", known: Sequence[Record] = ()) -> Table:
    """Return the table of records that are made under the same conditions; seeds of one method become mean ± std.

    Args:
        records: In the order of the rows.
        style: ``wide`` has all metrics and all costs.
        known: Further records that gains may have been taken against, to name them.

    Raises:
        ValueError: the conditions differ, or there are no records.
    """
    if len({conditions(record) for record in records}) != 1:
        raise ValueError("the records of one table must share data, protocol, input size, budget and precision")
    groups = groups_of(records)
    accuracy = AccuracyColumns(records, every=style == "wide")
    costs = CostColumns(records, WIDE if style == "wide" else PAPER)
    sources = Sources(records)
    rows = [_row(group, accuracy, costs, sources) for group in groups]
    columns = _columns(rows, accuracy, costs, reported=records[0].reported is not None)
    return Table(
        columns=columns,
        rows=mark(_ranked(columns, records), rows),
        caption=caption(records, costs.caption(), [*records, *known]),
        notes=tuple(sources.notes() + _notes(groups, columns, accuracy, costs)),
        facts=facts(records) | costs.facts(),
    )


def _row(group: Group, accuracy: AccuracyColumns, costs: CostColumns, sources: Sources) -> Row:
    first = group.first
    cells: dict[str, Cell] = {METHOD.key: group.label, BACKBONE.key: first.method.backbone}
    cells |= accuracy.cells(group) | costs.cells(group) | printed_cells(first)
    told: dict[str, Any] = {"run_ids": [record.run_id for record in group.records]}
    if first.reported is None:
        cells[SEEDS.key] = pooled([len(group.records)])
        told["seeds"] = [record.seed for record in group.records]
    return Row(cells, sources.signs(first), told | origin(first))


def _columns(rows: Sequence[Row], accuracy: AccuracyColumns, costs: CostColumns, reported: bool) -> tuple[Column, ...]:
    wanted = {METHOD, BACKBONE, DELTA_M, *accuracy.columns}
    wanted |= set() if reported else {*ALWAYS, SEEDS}
    order = (METHOD, BACKBONE, INPUT, *accuracy.columns, DELTA_M, *costs.columns, *PRINTED, SEEDS)
    return tuple(
        column for column in order if column in wanted or any(row.cells.get(column.key) is not None for row in rows)
    )


def _ranked(columns: Sequence[Column], records: Sequence[Record]) -> list[Column]:
    """Return the columns with the gain ranked where all rows are measured against the same backbone."""
    one_backbone = len({record.method.backbone for record in records}) == 1
    return [replace(column, ranked=one_backbone) if column == DELTA_M else column for column in columns]


def _notes(
    groups: Sequence[Group], columns: Sequence[Column], accuracy: AccuracyColumns, costs: CostColumns
) -> list[str]:
    notes = Notes([group.name for group in groups])
    for group in groups:
        accuracy.note(group, notes)
        for record in group.records:
            for warning in record.warnings:
                notes.add("", warning, group.name)
    for group in groups:
        if group.first.reported is None:
            costs.note(group, columns, notes)
    return notes.lines()
