"""Streams of HEAD against those of BASE: scores by kind of motion, errors against dense runs, MACs, bytes of state."""

import json
from collections.abc import Iterator, Sequence

from harness.compare.figures import Title, judged
from harness.compare.result import Fate, Figure, Row
from harness.compare.tolerance import Tolerances
from harness.errors import UsageError
from harness.records import units
from harness.records.metric import Metric
from harness.records.stream import StreamRecord
from harness.report.streams import WHOLE, scores_of, settings
from harness.report.text import printable


def stream_rows(base: Sequence[StreamRecord], head: Sequence[StreamRecord], tolerances: Tolerances) -> list[Row]:
    """Return the rows of two sets of streams, which are compared with streams alone.

    Args:
        base: Of BASE.
        head: Of HEAD.
        tolerances: How much worse values may be.

    Raises:
        UsageError: two streams of one side cannot be told apart.
    """
    ours, theirs = _by_key("BASE", base), _by_key("HEAD", head)
    rows = []
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(key), theirs.get(key)
        shown = one or other
        assert shown is not None
        names = [shown.method, shown.backbone or "", "" if settings(shown) == "default" else settings(shown)]
        label = printable(" ".join(filter(None, ["stream", shown.source, *names])))
        if one is None or other is None:
            fate: Fate = "added" if one is None else "removed"
            name = printable(shown.run_id)
            rows.append(Row(label=label, base=name if one else None, head=name if other else None, fate=fate))
            continue
        figures = list(_figures(one, other, tolerances))
        ids = printable(one.run_id), printable(other.run_id)
        rows.append(Row(label=label, base=ids[0], head=ids[1], fate="compared", figures=figures))
    return sorted(rows, key=lambda row: row.label)


def _by_key(side: str, records: Sequence[StreamRecord]) -> dict[str, StreamRecord]:
    """Return streams by what they are of; the digest at the end of a run's name changes with the code."""
    found: dict[str, StreamRecord] = {}
    for record in records:
        name = record.run_id.rpartition(".")[0]
        what = [name, record.source, record.options, record.policy, record.tasks, record.input_size, record.precision]
        key = json.dumps([*what, record.device], sort_keys=True)
        if key in found:
            twins = f"{found[key].run_id} and {record.run_id}"
            raise UsageError(f"{side}: the streams {twins} cannot be told apart; leave one of them out")
        found[key] = record
    return found


def _figures(base: StreamRecord, head: StreamRecord, tolerances: Tolerances) -> Iterator[Figure]:
    """Yield every value of a pair of streams, judged."""
    for kind in dict.fromkeys([*base.kinds, *head.kinds]) or [WHOLE]:
        one, other = (_metrics(record, kind) for record in (base, head))
        for name in dict.fromkeys([*one, *other]):
            yield from _metric(f"{kind}.{name}", one.get(name), other.get(name), tolerances, head, base)
        ours, theirs = (scores.macs if (scores := scores_of(record, kind)) else None for record in (base, head))
        for part in ("mean", "partial"):
            title = Title(f"macs.{kind}.{part}", f"{kind}: MACs/frame {part}", "macs", "MACs", 0, tolerances.of("macs"))
            values = getattr(ours, part, None), getattr(theirs, part, None)
            yield from judged(title, *values, _why(head), _why(base))
    title = Title("bytes.state", "State", "bytes", "bytes", 0, tolerances.of("bytes"))
    yield from judged(title, base.state_bytes, head.state_bytes, _why(head), _why(base))


def _metrics(record: StreamRecord, kind: str) -> dict[str, Metric]:
    """Return headline metrics, errors against dense runs and consistency of a kind of motion, by name."""
    scores = scores_of(record, kind)
    if scores is None:
        return {}
    headlines = {f"{task}.{next(iter(found))}": next(iter(found.values())) for task, found in scores.metrics.items()}
    return headlines | {f"{task}.off-dense": metric for task, metric in scores.off_dense.items()} | scores.consistency


def _metric(
    name: str, base: Metric | None, head: Metric | None, tolerances: Tolerances, ours: StreamRecord, other: StreamRecord
) -> Iterator[Figure]:
    """Yield a metric, judged by the tolerance of its task."""
    shown = base or head
    assert shown is not None
    unit = units.METRICS[shown.unit]
    kind, task, what = name.split(".", 2)
    title = Title(
        f"metrics.{name}",
        f"{kind}: {task} {what}",
        "metrics",
        unit.step or unit.symbol or shown.unit,
        unit.decimals,
        tolerances.of_task(task, shown.unit),
        shown.higher_is_better,
    )
    one, two = (metric.value * unit.factor if metric and metric.value is not None else None for metric in (base, head))
    yield from judged(title, one, two, (head and head.reason) or _why(ours), (base and base.reason) or _why(other))


def _why(record: StreamRecord) -> str:
    return record.failure or f"not measured; the stream is {record.status}"
