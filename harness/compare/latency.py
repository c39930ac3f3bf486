"""Latencies of two sessions, held against each other where that can be done."""

from collections.abc import Iterator

from harness.compare.result import Figure, Slowdown, Verdict
from harness.compare.rows import differences, subject
from harness.compare.slowdown import LEAST_PAIRS, Interval, paired_log_ratios, slowdown
from harness.compare.tolerance import Tolerance
from harness.errors import counted
from harness.probes.pairing import Values
from harness.records import Record
from harness.records.costs import Latency
from harness.records.load import Stored
from harness.report.text import printable

_EXECUTION = (
    "precision",
    "compiled",
    "cuda_graph",
    "channels_last",
    "runtime",
    "quantise",
    "cudnn_benchmark",
    "threads",
)


class _NotComparableError(Exception):
    """Says why two latencies cannot be compared."""


def latency_figures(base: Stored, head: Stored, tolerance: Tolerance) -> Iterator[Figure]:
    """Yield the latency at every batch size that BASE or HEAD has, judged.

    Latencies of one session were measured interleaved and are compared directly; those of two sessions by their
    ratios to one reference that was timed interleaved with each, if neither session was disturbed.

    Args:
        base: A row of BASE.
        head: The same row in HEAD.
        tolerance: How much slower it may be, relative.
    """
    ours = {latency.batch_size: latency for latency in base.record.latency}
    theirs = {latency.batch_size: latency for latency in head.record.latency}
    for size in sorted(ours.keys() | theirs.keys()):
        yield _figure(size, (base, ours.get(size)), (head, theirs.get(size)), tolerance)


_Timed = tuple[Stored, Latency | None]


def _figure(size: int, base: _Timed, head: _Timed, tolerance: Tolerance) -> Figure:
    (_, ours), (_, theirs) = base, head
    found: Slowdown | None = None
    if ours is None or theirs is None:
        record = (base if ours is None else head)[0].record
        verdict: Verdict = "gained" if ours is None else "lost"
        reason: str | None = record.unmeasured.get("latency") or record.failure or "not measured"
    else:
        try:
            found = _slowdown((base[0], ours), (head[0], theirs))
            verdict, reason = _verdict(found, tolerance.amount)
            if verdict != "same":
                reason = "; ".join([*([reason] if reason else []), *_disturbed(ours, theirs)]) or None
        except _NotComparableError as error:
            verdict, reason = "incomparable", str(error)
    return Figure(
        key=f"latency.batch{size}",
        title=f"Latency, batch {size}",
        kind="latency",
        unit="ms",
        decimals=2,
        base=ours.p50_ms if ours else None,
        head=theirs.p50_ms if theirs else None,
        tolerance=str(tolerance),
        verdict=verdict,
        reason=reason and printable(reason),
        slowdown=found,
    )


def _verdict(found: Slowdown, tolerance: float) -> tuple[Verdict, str | None]:
    if found.low > 1 + tolerance:
        return "regressed", None
    if found.high < 1 / (1 + tolerance):
        return "improved", None
    if found.ratio > 1 + tolerance:
        return "within", "beyond the tolerance, but not for certain: the interval reaches into it; measure for longer"
    return "same", None


def _disturbed(base: Latency, head: Latency) -> list[str]:
    """Return why samples may not be trusted: what disturbs rounds alike does not do so to sessions."""
    sides = (("BASE", base), ("HEAD", head))
    return [f"disturbed in {side}: {', '.join(latency.disturbed)}" for side, latency in sides if latency.disturbed]


def _slowdown(base: tuple[Stored, Latency], head: tuple[Stored, Latency]) -> Slowdown:
    """Return HEAD's latency relative to BASE's.

    Raises:
        _NotComparableError: that cannot be told.
    """
    _check_conditions(base, head)
    (_, ours), (_, theirs) = base, head
    if ours.sampling.session == theirs.sampling.session:
        pairs = _pairs(theirs, ours)
        return _found(slowdown(pairs), None, pairs, pairs)
    if doubts := _disturbed(ours, theirs):
        raise _NotComparableError("; ".join(doubts))
    one, other = _reference("BASE", *base), _reference("HEAD", *head)
    _check_reference(one[0], other[0])
    before, after = _pairs(ours, one[1]), _pairs(theirs, other[1])
    return _found(slowdown(after, before), printable(one[0].run_id), before, after)


def _found(interval: Interval, reference: str | None, base: Values, head: Values) -> Slowdown:
    return Slowdown(
        ratio=interval.ratio,
        low=interval.low,
        high=interval.high,
        reference=reference,
        base_pairs=len(base),
        head_pairs=len(head),
    )


def _check_conditions(base: tuple[Stored, Latency], head: tuple[Stored, Latency]) -> None:
    if differing := differences(_conditions(*base), _conditions(*head)):
        raise _NotComparableError("; ".join(differing))


def _conditions(entry: Stored, latency: Latency) -> dict[str, object]:
    return {
        "system": entry.record.system_id,
        "device": entry.record.device,
        "clock": latency.sampling.clock,
        **{what: getattr(latency, what) for what in _EXECUTION},
    }


def _reference(side: str, entry: Stored, latency: Latency) -> tuple[Record, Latency]:
    """Return what a latency was timed beside, from the same session."""
    if latency.paired is None:
        raise _NotComparableError(f"it was timed alone in {side}, and times of two sessions are not comparable")
    if latency.paired.reference == entry.record.run_id:
        raise _NotComparableError("it is the reference that the others are timed beside")
    record = entry.neighbour(latency.paired.reference)
    if record is None:
        raise _NotComparableError(f"the reference {latency.paired.reference} is not in {side}")
    for other in record.latency:
        if (other.batch_size, other.sampling.session) == (latency.batch_size, latency.sampling.session):
            return record, other
    raise _NotComparableError(f"the reference {record.run_id} was timed in another session in {side}")


def _check_reference(base: Record, head: Record) -> None:
    """Check that both sides have the same reference, and that it costs the same."""
    if differing := differences(_cost(base), _cost(head)):
        raise _NotComparableError(f"the reference is another one: {'; '.join(differing)}")


def _cost(reference: Record) -> dict[str, object]:
    macs, parameters = reference.macs, reference.parameters
    return {
        **subject(reference),
        "executed MACs": macs and macs.executed.mean,
        "parameters": parameters and parameters.total,
    }


def _pairs(ours: Latency, reference: Latency) -> Values:
    try:
        pairs = paired_log_ratios(ours, reference)
    except ValueError as error:
        raise _NotComparableError(str(error)) from error
    if len(pairs) < LEAST_PAIRS:
        few = f"{counted(len(pairs), 'pair of rounds')} {'is' if len(pairs) == 1 else 'are'} too few"
        raise _NotComparableError(f"{few}, {LEAST_PAIRS} are needed")
    return pairs
