"""The tables of the site: one per data set and protocol, of measured or of reported records, never of both."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from harness.leaderboard.entries import Entry
from harness.records import Record, conditions, headlines, units
from harness.records.costs import Latency
from harness.records.groups import groups_of
from harness.records.machine import latency_reasons, machine
from harness.report.cells import DASH, Column, Number, marked, pooled
from harness.report.columns import SESSION, SESSION_NOTE, metric_title, other_session, task_title
from harness.report.grid import Notes
from harness.report.intervals import Intervals
from harness.report.reported import OTHER_REFERENCE, other_documents, other_documents_note
from harness.report.spread import NOTE, headline_spreads
from harness.report.values import cost, time, why_no_cost


class Value(NamedTuple):
    """A value of a record in the unit of its column; None with the reason where it is missing."""

    value: float | None
    reason: str | None = None


Pick = Callable[[Record], Value]


@dataclass(eq=False)
class Row:
    """One configuration of a method, the mean of its seeds.

    Attributes:
        entries: The records, one per seed.
        variant: The settings in which it differs from the method's other rows, as ``key=value``.
        cells: One per column of the board; None where there is no value.
        reasons: Why a value, or that of some seeds, is missing; one per column.
    """

    entries: list[Entry]
    variant: list[str] = field(default_factory=list)
    cells: list[Number | None] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)

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
        columns: Its columns of numbers.
        unsure: Rows without an interval over images, next to such that have one, and why.
    """

    rows: list[Row]
    columns: list[Column]
    unsure: list[tuple[Row, str]] = field(default_factory=list)

    @property
    def record(self) -> Record:
        """One of its records; its conditions are those of all."""
        return self.rows[0].record

    @property
    def images(self) -> str:
        """The kind of images that were scored: ``real``, ``synthetic`` or ``random``."""
        return images(self.record)

    @property
    def ranked_by(self) -> str | None:
        """Key of the column the rows are sorted by; None where they are sorted by name."""
        gains = [value for column in self.columns if column.key == "delta_m" for value in self.values(column)]
        return "delta_m" if any(gain is not None for gain in gains) else None

    @property
    def notes(self) -> list[str]:
        """Reasons of empty cells, warnings of the records, and the meaning of signs."""
        notes = Notes([self.label(row) for row in self.rows])
        for row in self.rows:
            for entry in row.entries:
                for warning in entry.record.warnings:
                    notes.add("", warning, self.label(row))
                for subject, reason in latency_reasons(entry.record):
                    notes.add(subject, reason, self.label(row))
        for index, column in enumerate(self.columns):
            for row in self.rows:
                if missing := row.reasons[index]:
                    notes.add(column.title, missing, self.label(row))
        signs = {cell.sign for row in self.rows for cell in row.cells if cell}
        if any(cell.low is not None for row in self.rows for cell in row.cells if cell):
            notes.add("", NOTE, "")
            for row, reason in self.unsure:
                notes.add("interval", reason, self.label(row))
        lines = notes.lines()
        if OTHER_REFERENCE in signs:
            records = [entry.record for row in self.rows for entry in row.entries]
            lines.append(other_documents_note(list(other_documents(records, records).values())))
        return [*lines, *([SESSION_NOTE] if SESSION in signs else [])]

    def label(self, row: Row) -> str:
        """Return a name that no other row has, in one line."""
        method = row.record.method
        several = len({other.record.method.backbone for other in self.rows}) > 1
        return " ".join(part for part in (method.name, method.backbone if several else None, *row.variant) if part)

    def text(self, row: Row, index: int) -> str:
        """Return a cell as it is shown."""
        cell = row.cells[index]
        return cell.text(self.columns[index]) if cell else DASH

    def ranks(self, column: Column) -> bool:
        """Return whether a column says which row is better: gains do so only among rows of one backbone."""
        if column.key != "delta_m":
            return True
        index = self.columns.index(column)
        return len({row.record.method.backbone for row in self.rows if row.cells[index]}) <= 1

    def values(self, column: Column) -> list[float | None]:
        """Return the value of every row in one column."""
        index = self.columns.index(column)
        return [cell.value if (cell := row.cells[index]) else None for row in self.rows]


def images(record: Record) -> str:
    """Return the kind of images that a record was scored on: ``real``, ``synthetic`` or ``random``."""
    if record.costs_only:
        return "random"
    return "synthetic" if record.dataset.synthetic else "real"


def build_boards(entries: Sequence[Entry], intervals: Intervals | None = None) -> list[Board]:
    """Return the boards of complete records: scored on real images, on rendered ones, costs alone, reported ones.

    Args:
        entries: The records.
        intervals: Their per-image values; None for boards without intervals.
    """
    comparable: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.record.status == "complete":
            comparable.setdefault(conditions(entry.record), []).append(entry)
    boards = [_board(group, intervals) for group in comparable.values()]

    def place(board: Board) -> tuple[object, ...]:
        record = board.record
        section = (record.source == "reported", record.costs_only, record.dataset.synthetic, record.dataset.name)
        return *section, -len(board.rows)

    return sorted(boards, key=place)


def _board(entries: Sequence[Entry], intervals: Intervals | None) -> Board:
    """Return the board of records of the same conditions: rows, then cell by cell, then marks and order."""
    # 1. Rows: the seeds of one configuration, in their order.
    records = [entry.record for entry in entries]
    of_record = {id(entry.record): entry for entry in entries}
    rows = []
    for group in groups_of(records):
        origin = group.first.reported
        variant = [group.first.method.paper or origin.source, origin.tier] if origin else list(group.variant)
        members = [of_record[id(record)] for record in group.records]
        rows.append(Row(sorted(members, key=lambda entry: entry.record.seed or 0), variant))
    # 2. Cells, column by column, since marks compare the rows of one column.
    picks = dict(_columns(records))
    board = Board(rows, list(picks))
    others = other_documents(records, records)
    for index, (column, pick) in enumerate(picks.items()):
        for row in rows:
            # The mean of the seeds, and why values of some or all of them are missing.
            values = [pick(entry.record) for entry in row.entries]
            cell = pooled(value.value for value in values)
            missing = dict.fromkeys(value.reason for value in values if value.value is None)
            reason = "; ".join(one for one in missing if one) or None
            if cell and reason:
                reason = f"{cell.n} of {len(values)} seeds; {reason}"
            if cell and column.key == "delta_m" and row.record.run_id in others:
                cell = replace(cell, sign=OTHER_REFERENCE)
            row.cells.append(cell)
            row.reasons.append(reason)
        # Sessions before ranks: a latency of another session takes part in none.
        if column.title == "Latency" and column.ranked:
            _mark_sessions(rows, index, pick)
        if board.ranks(column):
            for row, found in zip(rows, marked([row.cells[index] for row in rows], column), strict=True):
                assert not isinstance(found, str)
                row.cells[index] = found
        # Intervals after marks: they say what is not worse than the best for certain.
        if intervals is not None and (spreads := headline_spreads(intervals, records, column.key)):
            ranked = replace(column, ranked=column.ranked and board.ranks(column))
            of_rows = [[entry.record for entry in row.entries] for row in rows]
            for row, found in zip(
                rows, spreads.cells(of_rows, [row.cells[index] for row in rows], ranked), strict=True
            ):
                assert not isinstance(found, str)
                row.cells[index] = found
            board.unsure += [(rows[place], reason) for place, reason in spreads.reasons.items()]

    # 3. Order: the best gain first, rows without one by name behind them.
    def place(row: Row) -> tuple[object, ...]:
        gains = [cell.value for cell, column in zip(row.cells, picks, strict=True) if cell and column.key == "delta_m"]
        return not gains, -gains[0] if gains else 0.0, row.record.method.name, board.label(row), row.seeds

    board.rows.sort(key=place)
    return board


def _mark_sessions(rows: Sequence[Row], index: int, pick: Pick) -> None:
    """Mark latencies of another timing session than most of the column; they are not ranked."""
    timing = pick.keywords["timing"] if isinstance(pick, partial) else None
    timed = [
        [one for entry in row.entries for one in entry.record.latency if _timing(entry.record, one) == timing]
        for row in rows
    ]
    for row, other in zip(rows, other_session(timed), strict=True):
        if other and (cell := row.cells[index]):
            row.cells[index] = replace(cell, sign=SESSION, ranked=False)


def _columns(records: Sequence[Record]) -> Iterator[tuple[Column, Pick]]:
    """Yield the columns of records made under the same conditions: accuracy in the papers' order, then costs."""
    most = sorted(records, key=lambda record: -len(record.metrics))  # one with all tasks gives the order
    tasks = dict.fromkeys(task for record in most for task in record.metrics)
    for task in tasks:
        name, metric = next(next(iter(r.metrics[task].items())) for r in records if task in r.metrics)
        unit = units.METRICS[metric.unit]
        detail = f"{metric_title(name, task, False)} {unit.symbol}".rstrip()
        better = "higher" if metric.higher_is_better else "lower"
        column = Column(
            task,
            task_title(task),
            better,  # type: ignore[arg-type]
            metric.unit,
            decimals=unit.decimals,
            ranked=True,
            detail=detail,
        )
        yield column, partial(metric_of, task=task, factor=unit.factor)
    if tasks:
        yield Column("delta_m", "Δm", "higher", "percent", signed=True, ranked=True, detail="%"), gain_of
    # Reported rows have the costs that their sources print, in columns that some source fills.
    if any(record.reported for record in records):
        for column, name in _PRINTED.items():
            pick = partial(printed_in, name=name)
            if any(pick(record).value is not None for record in records):
                yield column, pick
        return
    for column, (name, per) in _SIZES.items():
        yield column, partial(size_of, name=name, per=per)
    # A latency per machine and way of execution, at the smallest batch size that was timed.
    smallest = min((one.batch_size for record in records for one in record.latency), default=None)
    timings = {_timing(record, one) for record in records for one in record.latency if one.batch_size == smallest}
    names = [name for name, _ in {(timing.machine, timing.system_id) for timing in timings}]
    for number, timing in enumerate(sorted(timings)):
        where = timing.machine if names.count(timing.machine) == 1 else f"{timing.machine}, {timing.system_id}"
        detail = ", ".join([f"ms, batch {timing.batch_size}", where, *timing.modes])
        key = "latency_ms" if len(timings) == 1 else f"latency_ms@{number}"
        yield Column(key, "Latency", "lower", "ms", ranked=True, detail=detail), partial(latency_at, timing=timing)


_SIZES = {
    Column("macs", "MACs", "lower", "MACs", ranked=True, detail="G"): ("macs", 1e9),
    Column("parameters", "Params", "lower", "parameters", ranked=True, detail="M"): ("parameters", 1e6),
    Column("storage", "Storage", "lower", "bytes", ranked=True, detail="MB"): ("artifact_bytes", 1e6),
}
"""Column to the cost of a record and its divisor."""

_PRINTED = {
    Column(
        "printed_delta_m_percent",
        "Δm",
        unit="percent",
        signed=True,
        detail="% as printed, against the source's reference",
    ): "delta_m_percent",
    Column("printed_gflops", "GFLOPs", unit="G", decimals=None, detail="as printed, MACs or FLOPs"): "gflops",
    Column("printed_parameters_m", "Params", unit="millions", decimals=None, detail="M as printed"): "parameters_m",
    Column("printed_latency_ms", "Latency", unit="ms", decimals=None, detail="ms as printed"): "latency_ms",
}
"""Column to the field of a reported record. Sources count differently, so no row is the best."""


def metric_of(record: Record, task: str, factor: float) -> Value:
    """Return the headline metric of a task."""
    metric = headlines(record).get(task)
    if metric is None:
        return Value(None, "the task is not served")
    return Value(None if metric.value is None else metric.value * factor, metric.reason)


def gain_of(record: Record) -> Value:
    """Return the multi-task gain."""
    gain = record.delta_m
    return Value(gain.value, gain.reason) if gain else Value(None, "not computed")


def size_of(record: Record, name: str, per: float) -> Value:
    """Return a cost in the unit of its column."""
    value = cost(record, name)
    return Value(value / per) if value is not None else Value(None, why_no_cost(record, name))


def printed_in(record: Record, name: str) -> Value:
    """Return a value as its source prints it."""
    value: float | None = getattr(record.reported, name)
    return Value(value, None if value is not None else "not printed in the source")


class _Timing(NamedTuple):
    """Conditions that the latencies of one column share."""

    system_id: str
    machine: str
    batch_size: int
    modes: tuple[str, ...]


def _timing(record: Record, latency: Latency) -> _Timing:
    """Return the conditions of a latency that decide on its column."""
    modes = [f"compiled {latency.compiled}"] if latency.compiled else []
    modes += ["CUDA graph"] if latency.cuda_graph else []
    modes += ["channels last"] if latency.channels_last else []
    modes += [latency.served] if latency.served else []
    modes += ["kernels chosen by cuDNN's benchmark"] if latency.cudnn_benchmark else []
    return _Timing(record.system_id, machine(record), latency.batch_size, tuple(modes))


def latency_at(record: Record, timing: _Timing) -> Value:
    """Return the median latency under the conditions of a column."""
    for one in record.latency:
        if _timing(record, one) == timing:
            return Value(time(one, "latency_p50_ms"))
    where = ", ".join([f"batch size {timing.batch_size} on {timing.machine}", *timing.modes])
    return Value(None, record.unmeasured.get("latency", f"not measured at {where}"))
