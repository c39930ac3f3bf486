"""The tables of the site: one per data set and protocol, of measured or of reported figures, never of both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.leaderboard.columns import Column, columns
from harness.leaderboard.entries import Entry
from harness.records import Record, conditions
from harness.records.groups import groups_of
from harness.records.machine import latency_reasons
from harness.report.cells import DASH, pooled
from harness.report.notes import Notes


class Cell(NamedTuple):
    """A figure as shown, as sorted by, and why it is missing."""

    text: str
    value: float | None
    reason: str | None = None
    best: bool = False


@dataclass(eq=False)
class Row:
    """One configuration of a method: its seeds are averaged.

    Attributes:
        entries: The records, one per seed.
        variant: The options in which it differs from the method's other rows, as ``key=value``.
        cells: One per column of the board.
    """

    entries: list[Entry]
    variant: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)

    @property
    def record(self) -> Record:
        """The first of its records."""
        return self.entries[0].record

    @property
    def seeds(self) -> list[int]:
        """Its seeds."""
        return [entry.record.seed for entry in self.entries if entry.record.seed is not None]


@dataclass(eq=False)
class Board:
    """A table of records that were made under the same conditions.

    Attributes:
        rows: Its rows, the best gain first.
        columns: Its columns of figures.
    """

    rows: list[Row]
    columns: list[Column]

    @property
    def record(self) -> Record:
        """One of its records; what it says of the conditions holds for all."""
        return self.rows[0].record

    @property
    def images(self) -> str:
        """What kind of images the figures are of: ``real``, ``synthetic`` or ``random``."""
        return images(self.record)

    @property
    def ranked_by(self) -> str | None:
        """Key of the column the rows are sorted by; None where they are sorted by name."""
        ranked = [index for index, column in enumerate(self.columns) if column.key == "delta_m"]
        return "delta_m" if ranked and any(row.cells[ranked[0]].value is not None for row in self.rows) else None

    @property
    def notes(self) -> list[str]:
        """Why cells are empty, and what the records warn of."""
        notes = Notes([self.label(row) for row in self.rows])
        for row in self.rows:
            for entry in row.entries:
                for warning in entry.record.warnings:
                    notes.add("", warning, self.label(row))
                for subject, reason in latency_reasons(entry.record):
                    notes.add(subject, reason, self.label(row))
        for index, column in enumerate(self.columns):
            for row in self.rows:
                if gap := row.cells[index].reason:
                    notes.add(column.title, gap, self.label(row))
        return notes.lines()

    def label(self, row: Row) -> str:
        """Return what tells a row from the others, in one line."""
        method = row.record.method
        several = len({other.record.method.backbone for other in self.rows}) > 1
        return " ".join(part for part in (method.name, method.backbone if several else None, *row.variant) if part)

    def ranks(self, column: Column) -> bool:
        """Return whether a column tells which row is better: gains do so among rows of one backbone alone."""
        index = self.columns.index(column)
        having = {row.record.method.backbone for row in self.rows if row.cells[index].value is not None}
        return column.key != "delta_m" or len(having) <= 1

    def values(self, column: Column) -> list[float | None]:
        """Return the figure of every row in one column."""
        index = self.columns.index(column)
        return [row.cells[index].value for row in self.rows]


def images(record: Record) -> str:
    """Return what kind of images a record's figures are of: ``real``, ``synthetic`` or ``random``."""
    if record.costs_only:
        return "random"
    return "synthetic" if record.dataset.synthetic else "real"


def build_boards(entries: Sequence[Entry]) -> list[Board]:
    """Return the boards of complete records: scored on real images, on rendered ones, costs alone, reported figures."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.record.status == "complete":
            groups.setdefault(conditions(entry.record), []).append(entry)
    boards = [_board(group) for group in groups.values()]
    return sorted(boards, key=lambda board: (*_section(board.record), -len(board.rows)))


def _section(record: Record) -> tuple[object, ...]:
    return record.source == "reported", record.costs_only, record.dataset.synthetic, record.dataset.name


def _board(entries: Sequence[Entry]) -> Board:
    records = [entry.record for entry in entries]
    board = Board(list(_rows(entries)), columns(records))
    for row in board.rows:
        row.cells = [_cell(column, row) for column in board.columns]
    _mark_best(board)
    board.rows.sort(key=lambda row: _rank(board, row))
    return board


def _rows(entries: Sequence[Entry]) -> Iterator[Row]:
    """Yield the rows of a board: one per configuration."""
    of_record = {id(entry.record): entry for entry in entries}
    for group in groups_of([entry.record for entry in entries]):
        origin = group.first.reported
        variant = list(group.variant)
        if origin:
            variant = [group.first.method.paper or origin.source, origin.tier]
        members = [of_record[id(record)] for record in group.records]
        yield Row(sorted(members, key=lambda entry: entry.record.seed or 0), variant)


def _cell(column: Column, row: Row) -> Cell:
    figures = [column.pick(entry.record) for entry in row.entries]
    reasons = dict.fromkeys(figure.reason for figure in figures if figure.value is None)
    reason = "; ".join(reason for reason in reasons if reason) or None
    held = pooled(figure.value for figure in figures)
    if held is None:
        return Cell(DASH, None, reason)
    if reason:
        reason = f"{held.n} of {len(figures)} seeds; {reason}"
    return Cell(
        f"{held.value:{column.form}}" + (f" ± {held.std:{column.form.lstrip('+')}}" if held.std else ""),
        held.value,
        reason,
    )


def _mark_best(board: Board) -> None:
    """Mark the best figure of every column of several."""
    for index, column in enumerate(board.columns):
        known = [row.cells[index].value for row in board.rows]
        values = [value for value in known if value is not None]
        if len(values) < 2 or column.higher_is_better is None or not board.ranks(column):
            continue
        best = max(values) if column.higher_is_better else min(values)
        shown = next(row.cells[index].text for row in board.rows if row.cells[index].value == best)
        for row in board.rows:
            row.cells[index] = row.cells[index]._replace(best=row.cells[index].text == shown)


def _rank(board: Board, row: Row) -> tuple[object, ...]:
    gains = [cell.value for cell, column in zip(row.cells, board.columns, strict=True) if column.key == "delta_m"]
    known = bool(gains) and gains[0] is not None
    return not known, -(gains[0] or 0.0) if known else 0.0, row.record.method.name, board.label(row), row.seeds
