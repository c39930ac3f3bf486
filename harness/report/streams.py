"""Tables of streams: one for each source and kind of motion; streams and still images never share one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.records import units
from harness.records.metric import Metric
from harness.records.stream import FrameMacs, KindScores, StreamRecord
from harness.report.cells import Cell, Column, pooled
from harness.report.columns import metric_title, task_title
from harness.report.grid import BACKBONE, METHOD, Row, Table, filled, mark
from harness.stream.policy import StreamPolicy

WHOLE = "all"
"""Kind of motion that stands for all clips."""

_SETTINGS = Column("stream", "Stream")
_SEEDS = Column("n", "n", unit="runs", decimals=0)
_MEAN = Column("macs_mean", "MACs/frame G", "lower", "MACs", "giga", units.GIGA, ranked=True)
_PARTIAL = Column("macs_partial", "Partial MACs G", "lower", "MACs", "giga", units.GIGA)
_DENSE = Column("macs_dense", "Dense MACs G", "lower", "MACs", "giga", units.GIGA)
_STATE = Column("state", "State MB", "lower", "bytes", "mb", units.MEGA)
_TIMES = {
    Column("full_p50", "Full p50 ms", "lower", "ms", "ms", decimals=1): ("full", "p50_ms"),
    Column("partial_p50", "Partial p50 ms", "lower", "ms", "ms", decimals=1): ("partial", "p50_ms"),
    Column("p99", "p99 ms", "lower", "ms", "ms", decimals=1): ("all", "p99_ms"),
    Column("worst", "Worst ms", "lower", "ms", "ms", decimals=1): ("all", "worst_ms"),
}
"""Columns of times to the part and the statistic that they show: the worst frame stands beside every median."""
_OVER_TIME = ("semseg.vc8@all", "semseg.flicker@exact", "semseg.tc@exact", "depth.opw@exact", "normals.change@exact")
"""Metrics of consistency that have columns; the records have all."""

_NOTE = "off dense: against the same weights run densely on every frame; consistency is never to be read alone"


def build_stream_tables(records: Sequence[StreamRecord], every: bool = False) -> list[Table]:
    """Return the tables of complete streams.

    Args:
        records: Any records of streams.
        every: Give each kind of motion a table, not only all clips together.
    """
    alike: dict[tuple[object, ...], list[StreamRecord]] = {}
    for record in records:
        if record.status == "complete":
            alike.setdefault(conditions(record), []).append(record)
    tables = []
    for group in alike.values():
        kinds = list(dict.fromkeys(kind for record in group for kind in record.kinds)) or [WHOLE]
        tables += [_table(group, kind) for kind in kinds if every or kind == WHOLE]
    return tables


def unfinished(records: Sequence[StreamRecord]) -> list[StreamRecord]:
    """Return the streams that broke off, in order of their names; their values stand in no table."""
    return sorted((record for record in records if record.status != "complete"), key=lambda record: record.run_id)


def conditions(record: StreamRecord) -> tuple[object, ...]:
    """Return what the streams of one table have in common, the machine among it: their times compare."""
    machine = record.system_id, record.device, record.threads, record.precision
    return record.source, record.source_kind, tuple(record.tasks), record.input_size, *machine


def settings(record: StreamRecord) -> str:
    """Return the settings of a stream that are not the default ones, as ``key=value``."""
    default = StreamPolicy().model_dump(mode="json")
    given = {key: value for key, value in record.policy.items() if value != default.get(key)}
    if given.get("select") == "top-k" and "rows" in record.policy:
        given = {**{key: value for key, value in given.items() if key != "select"}, "rows": record.policy["rows"]}
    return " ".join(f"{key}={value}" for key, value in given.items()) or "default"


def scores_of(record: StreamRecord, kind: str) -> KindScores | None:
    """Return the scores of a kind of motion; of streams that are not scored what they have as a whole."""
    if record.kinds:
        return record.kinds.get(kind)
    return KindScores(clips=0, frames=record.frames, off_dense=record.off_dense, macs=record.macs)


def _table(records: Sequence[StreamRecord], kind: str) -> Table:
    """Return the table of one kind of motion; seeds of one configuration become a row."""
    first = records[0]
    groups: dict[str, list[StreamRecord]] = {}
    for record in sorted(records, key=lambda record: (record.method, str(record.backbone), settings(record))):
        same = (record.method, record.backbone, str(record.options), settings(record))
        groups.setdefault(str(same), []).append(record)
    columns: dict[str, Column] = {}
    rows = []
    for group in groups.values():
        head = group[0]
        cells: dict[str, Cell] = {
            METHOD.key: head.method,
            BACKBONE.key: head.backbone,
            _SETTINGS.key: settings(head),
            _SEEDS.key: pooled([len(group)]),
        }
        found = [scores for record in group if (scores := scores_of(record, kind)) is not None]
        for column, metrics in _metric_cells(found).items():
            columns[column.key] = column
            cells[column.key] = pooled(metric.value for metric in metrics)
        of_macs: dict[Column, Callable[[FrameMacs], float | None]] = {
            _MEAN: lambda macs: macs.mean,
            _PARTIAL: lambda macs: macs.partial,
            _DENSE: lambda macs: macs.dense,
        }
        for column, pick in of_macs.items():
            cells[column.key] = pooled(pick(scores.macs) for scores in found if scores.macs)
        if kind == WHOLE:
            cells[_STATE.key] = pooled(record.state_bytes for record in group)
            for column, (part, statistic) in _TIMES.items():
                times = (getattr(record.times, part, None) for record in group)
                cells[column.key] = pooled(getattr(one, statistic) for one in times if one)
        rows.append(Row(cells, facts={"run_ids": [record.run_id for record in group]}))
    order = (METHOD, BACKBONE, _SETTINGS, *columns.values(), _MEAN, _PARTIAL, _DENSE, *_TIMES, _STATE, _SEEDS)
    shown = filled(order, rows)
    clips = max((scores.clips for record in records if (scores := scores_of(record, kind))), default=0)
    counted = f"{clips} clips, " if clips else ""
    height, width = first.input_size
    machine = f"{first.device}, {first.threads} threads" if first.threads else first.device
    caption = (
        f"Streams of {first.source}, {'every kind of motion' if kind == WHOLE else f'motion {kind}'}: {counted}"
        f"input {height}x{width}, {first.precision}, {machine}, measured"
    )
    facts = {"source": first.source, "motion": kind, "record": "stream", "system_id": first.system_id}
    return Table(shown, mark(shown, rows), caption, (_NOTE,), facts)


def _metric_cells(found: Sequence[KindScores]) -> dict[Column, list[Metric]]:
    """Return the metrics of a row by column: headlines through the stream, errors off dense, consistency."""
    cells: dict[Column, list[Metric]] = {}
    for scores in found:
        for task, metrics in scores.metrics.items():
            name, metric = next(iter(metrics.items()))
            title = f"{task_title(task)} {metric_title(name, task, True)}"
            cells.setdefault(_column(f"{task}_{name}", title, metric), []).append(metric)
        for task, metric in scores.off_dense.items():
            cells.setdefault(_column(f"{task}_off_dense", f"{task_title(task)} off dense", metric), []).append(metric)
        for name in _OVER_TIME:
            if (over := scores.consistency.get(name)) is not None:
                title = name.partition("@")[0].replace(".", " ")
                cells.setdefault(_column(name.replace(".", "_").replace("@", "_"), title, over), []).append(over)
    return cells


def _column(key: str, title: str, metric: Metric) -> Column:
    unit = units.METRICS[metric.unit]
    symbol = f" {unit.symbol}" if unit.symbol else ""
    column = Column(key, f"{title}{symbol}", "higher" if metric.higher_is_better else "lower", metric.unit, unit.word)
    return replace(column, scale=unit.factor, decimals=unit.decimals, ranked=True)
