"""Figures that are the same in every run: accuracy, MACs, parameters and bytes."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.compare.result import Figure, Kind, Loss, Verdict
from harness.compare.tolerance import Tolerance, Tolerances
from harness.errors import UsageError, unknown
from harness.records import Record, headlines, units
from harness.records.costs import Spread
from harness.records.load import Stored
from harness.records.metric import Metric
from harness.report.text import printable
from harness.tasks import TASK_FACTS


@dataclass(frozen=True)
class Title:
    """Name of a value, and its tolerance."""

    key: str
    title: str
    kind: Kind
    unit: str
    decimals: int
    tolerance: Tolerance
    higher_is_better: bool = False


def exact_figures(base: Stored, head: Stored, tolerances: Tolerances) -> Iterator[Figure]:
    """Yield every exact value that BASE or HEAD has, judged.

    Args:
        base: A row of BASE.
        head: The same row in HEAD.
        tolerances: How much worse each may be.

    Raises:
        UsageError: a record holds a task that there is not.
    """
    yield from _metrics(base, head, tolerances)
    yield from _costs(base.record, head.record, tolerances)


def _metrics(stored: Stored, other_stored: Stored, tolerances: Tolerances) -> Iterator[Figure]:
    base, head = stored.record, other_stored.record
    ours, theirs = headlines(base), headlines(head)
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in TASK_FACTS:
            raise UsageError(f"{base.run_id}: {unknown('task', name, TASK_FACTS)}")
        one, other = ours.get(name), theirs.get(name)
        shown = one or other
        assert shown is not None
        task = TASK_FACTS[name]
        unit = units.METRICS[shown.unit]
        named = unit.step or unit.symbol or shown.unit
        tolerance = tolerances.of_task(name, shown.unit)
        title = f"{task.title} {task.headline_title}"
        what = Title(
            f"metrics.{name}",
            title,
            "metrics",
            named,
            unit.decimals,
            tolerance,
            task.higher_is_better,
        )
        reason = _incomparable(one, other)
        values = (_value(one, unit.factor), _value(other, unit.factor))
        if reason is not None:
            yield _figure(what, *values, "incomparable", reason)
        elif tolerance.level is not None and None not in values:
            yield judged_by_images(what, stored, other_stored, name, unit.factor)
        else:
            yield from judged(what, *values, _why_null(other, head), _why_null(one, base))


def judged_by_images(what: Title, base: Stored, head: Stored, task: str, factor: float) -> Figure:
    """Return a metric judged by the interval of its loss, paired over images.

    It regressed if the whole interval lies above the tolerance, and improved if it lies below the tolerance's negative.
    """
    from harness.report.intervals import Intervals, NoIntervalError  # with numpy and the meters

    level = what.tolerance.level
    assert level is not None
    name = next(iter(base.record.metrics[task]))
    try:
        samples = [Intervals([side]).metric(side.record, task, name) for side in (base, head)]
        worse = samples[0].less(samples[1]) if what.higher_is_better else samples[1].less(samples[0])
        found = worse.interval(level)
    except NoIntervalError as error:
        found, reason = None, str(error)
    else:
        reason = "too few images for an interval"
    ours, theirs = (_value(side.record.metrics[task][name], factor) for side in (base, head))
    if found is None or ours is None:
        return _figure(what, ours, theirs, "incomparable", f"@{100 * level:g}: {reason}")
    loss = Loss(low=found.low * factor, high=found.high * factor, level=level, images=len(worse.images))
    allowed = what.tolerance.absolute(ours)
    verdict: Verdict = "same" if ours == theirs else "within"
    if loss.low > allowed:
        verdict = "regressed"
    elif loss.high < -allowed:
        verdict = "improved"
    text = f"{100 * level:g} % interval of the loss over {loss.images} images: {loss.low:.3g} to {loss.high:.3g}"
    if verdict == "within" and worse.value * factor > allowed:
        text = f"beyond the tolerance, but not for certain: the {text}"
    return _figure(what, ours, theirs, verdict, text).model_copy(update={"loss": loss})


def _incomparable(base: Metric | None, head: Metric | None) -> str | None:
    """Return why two values are not of the same thing; None where they are, or one of them is not there."""
    if base is None or head is None or base.value is None or head.value is None:
        return None
    for what in ("protocol", "unit", "n"):
        one, other = getattr(base, what), getattr(head, what)
        if one != other:
            return f"{'pixels or images' if what == 'n' else what}: {one} → {other}"
    return None


def _value(metric: Metric | None, factor: float) -> float | None:
    return None if metric is None or metric.value is None else metric.value * factor


def _why_null(metric: Metric | None, record: Record) -> str:
    return (metric and metric.reason) or record.failure or f"not measured; the run is {record.status}"


def _costs(base: Record, head: Record, tolerances: Tolerances) -> Iterator[Figure]:
    for kind, probe, key, title, unit in _COSTS:
        what = Title(f"{kind}.{key}", title, kind, unit, 0, tolerances.of(kind))
        values = (_cost(base, probe, key), _cost(head, probe, key))
        yield from judged(what, *values, _why_unmeasured(head, probe), _why_unmeasured(base, probe))


_COSTS: tuple[tuple[Kind, str, str, str, str], ...] = (
    ("macs", "macs", "executed", "MACs executed", "MACs"),
    ("macs", "macs", "ideal", "MACs ideal", "MACs"),
    ("macs", "macs", "dense", "MACs dense", "MACs"),
    ("params", "parameters", "total", "Parameters", "parameters"),
    ("bytes", "storage", "artifact_bytes", "Artifact", "bytes"),
)
"""Kind, field of the record, field of the cost, title and unit of every exact cost."""


def _cost(record: Record, probe: str, key: str) -> float | None:
    value = getattr(getattr(record, probe), key, None)
    return value.mean if isinstance(value, Spread) else value


def _why_unmeasured(record: Record, probe: str) -> str:
    if getattr(record, probe) is not None:
        return "the method has no such figure"
    return record.unmeasured.get(probe) or record.failure or "not measured"


def judged(what: Title, base: float | None, head: float | None, lost: str, gained: str) -> Iterator[Figure]:
    """Yield the value with its verdict; none where neither side has it.

    Args:
        what: The figure.
        base: In BASE.
        head: In HEAD.
        lost: Why HEAD has none.
        gained: Why BASE has none.
    """
    if base is None and head is None:
        return
    if base is None or head is None:
        yield _figure(what, base, head, *(("gained", gained) if base is None else ("lost", lost)))
        return
    worse = base - head if what.higher_is_better else head - base
    verdict: Verdict = "same" if worse == 0 else "regressed"
    if what.tolerance.allows(abs(worse), base) and worse != 0:
        verdict = "within"
    elif worse < 0:
        verdict = "improved"
    yield _figure(what, base, head, verdict, None)


def _figure(what: Title, base: float | None, head: float | None, verdict: Verdict, reason: str | None) -> Figure:
    return Figure(
        key=what.key,
        title=what.title,
        kind=what.kind,
        unit=what.unit,
        decimals=what.decimals,
        base=base,
        head=head,
        tolerance=str(what.tolerance),
        verdict=verdict,
        reason=reason and printable(reason),
    )
