"""The columns of a board: what each shows of a record, in which unit, and which direction is better."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from harness.records import Record, headlines, units
from harness.records.costs import Latency
from harness.records.machine import machine
from harness.records.metric import Metric
from harness.tasks import TASKS


class Figure(NamedTuple):
    """A figure in the unit of its column; null with the reason where it could not be had."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        key: What it is called on the command line; distinct within a board.
        title: Its title.
        detail: The metric, the unit and the circumstances, shown under the title.
        higher_is_better: The better direction; None for figures that do not compare with one another.
        pick: Gives the figure of a record.
        form: Format of a figure.
    """

    key: str
    title: str
    detail: str
    higher_is_better: bool | None
    pick: Callable[[Record], Figure]
    form: str = ".2f"

    @property
    def name(self) -> str:
        """Title and detail in one line."""
        return f"{self.title}, {self.detail}"


def columns(records: Sequence[Record]) -> list[Column]:
    """Return the columns of records made under the same conditions: accuracy in the papers' order, then costs."""
    tasks = [_task_column(task, records) for task in _tasks(records)]
    gain = [_GAIN] if tasks else []
    if any(record.reported for record in records):
        return [*tasks, *gain, *_printed_columns(records)]
    return [*tasks, *gain, *_SIZES, *_latency_columns(records)]


def _tasks(records: Sequence[Record]) -> list[str]:
    """Return all tasks in the order of the record that has most of them."""
    most = sorted(records, key=lambda record: -len(record.metrics))
    return list(dict.fromkeys(task for record in most for task in record.metrics))


def _task_column(task: str, records: Sequence[Record]) -> Column:
    metric, figure = next(next(iter(r.metrics[task].items())) for r in records if task in r.metrics)
    unit = units.METRICS[figure.unit]
    title = TASKS[task].title if task in TASKS else task

    def pick(record: Record) -> Figure:
        found: Metric | None = headlines(record).get(task)
        if found is None:
            return Figure(None, "the task is not served")
        return Figure(None if found.value is None else found.value * unit.factor, found.reason)

    return Column(
        task,
        title,
        f"{units.METRIC_NAMES.get(metric, metric)} {unit.symbol}".rstrip(),
        figure.higher_is_better,
        pick,
        f".{unit.decimals}f",
    )


def _gain(record: Record) -> Figure:
    if record.delta_m is None:
        return Figure(None, "not computed")
    return Figure(record.delta_m.value, record.delta_m.reason)


def _macs(record: Record) -> Figure:
    return Figure(record.macs.executed.mean / 1e9) if record.macs else _unmeasured(record, "macs")


def _parameters(record: Record) -> Figure:
    return Figure(record.parameters.total / 1e6) if record.parameters else _unmeasured(record, "parameters")


def _storage(record: Record) -> Figure:
    return Figure(record.storage.artifact_bytes / 1e6) if record.storage else _unmeasured(record, "storage")


def _unmeasured(record: Record, probe: str) -> Figure:
    return Figure(None, record.unmeasured.get(probe, "not measured"))


_GAIN = Column("delta_m", "Δm", "%", True, _gain, "+.2f")
_SIZES = (
    Column("macs", "MACs", "G", False, _macs),
    Column("parameters", "Params", "M", False, _parameters),
    Column("storage", "Storage", "MB", False, _storage),
)


_PRINTED = {
    "delta_m_percent": ("Δm", "% as printed, against the source's reference", "+.2f"),
    "gflops": ("GFLOPs", "as printed, MACs or FLOPs", "g"),
    "parameters_m": ("Params", "M as printed", "g"),
    "latency_ms": ("Latency", "ms as printed", "g"),
}
"""Field of a reported record to title, detail and format. Sources count differently, so no row is the best."""


def _printed_columns(records: Sequence[Record]) -> Iterator[Column]:
    """Yield a column for every figure that a source prints beside the accuracy."""
    for name, (title, detail, form) in _PRINTED.items():
        pick = partial(_printed, name=name)
        if any(pick(record).value is not None for record in records):
            yield Column(f"printed_{name}", title, detail, None, pick, form)


def _printed(record: Record, name: str) -> Figure:
    value: float | None = getattr(record.reported, name)
    return Figure(value, None if value is not None else "not printed in the source")


class _Timing(NamedTuple):
    """What latencies must share to stand in one column."""

    system_id: str
    machine: str
    batch_size: int
    modes: tuple[str, ...]


def _latency_columns(records: Sequence[Record]) -> Iterator[Column]:
    """Yield a column per machine and way of execution, at the smallest batch size that was timed."""
    smallest = min((one.batch_size for record in records for one in record.latency), default=None)
    timings = {_timing(record, one) for record in records for one in record.latency if one.batch_size == smallest}
    systems = {(timing.machine, timing.system_id) for timing in timings}
    names = [name for name, _ in systems]
    for timing in sorted(timings):
        where = timing.machine if names.count(timing.machine) == 1 else f"{timing.machine}, {timing.system_id}"
        detail = ", ".join([f"ms, batch {timing.batch_size}", where, *timing.modes])
        key = "latency_ms" if len(timings) == 1 else f"latency_ms@{sorted(timings).index(timing)}"
        yield Column(key, "Latency", detail, False, partial(_latency, timing=timing))


def _timing(record: Record, latency: Latency) -> _Timing:
    modes = [f"compiled {latency.compiled}"] if latency.compiled else []
    modes += ["CUDA graph"] if latency.cuda_graph else []
    modes += ["channels last"] if latency.channels_last else []
    return _Timing(record.system_id, machine(record), latency.batch_size, tuple(modes))


def _latency(record: Record, timing: _Timing) -> Figure:
    found = next((one.p50_ms for one in record.latency if _timing(record, one) == timing), None)
    if found is None:
        return Figure(None, record.unmeasured.get("latency", f"not measured at {_words(timing)}"))
    return Figure(found)


def _words(timing: _Timing) -> str:
    return ", ".join([f"batch size {timing.batch_size} on {timing.machine}", *timing.modes])
