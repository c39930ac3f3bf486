"""Words of tables on the machine that latencies are of."""

from collections.abc import Iterator, Sequence

from harness.records import Record


def machine(record: Record) -> str:
    """Return the device a record's costs were measured on, in words."""
    known = record.environment
    name = known.get("gpu" if record.device == "cuda" else "cpu") or record.device or "unknown device"
    threads = record.latency[0].threads if record.latency else None
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}" if threads else str(name)


def execution(record: Record) -> tuple[object, ...]:
    """Return how a record's latencies were run, beside the precision; empty where there are none."""
    return tuple((one.execution, one.cudnn_benchmark, one.threads) for one in record.latency[:1])


def one_machine(records: Sequence[Record]) -> bool:
    """Return whether the latencies of records are all of one machine and run alike, so that they can share a column."""
    return len({(record.system_id, machine(record), execution(record)) for record in records if record.latency}) <= 1


def latency_reasons(record: Record) -> Iterator[tuple[str, str]]:
    """Yield why a record's latencies are not to be trusted: which of them, and the reason."""
    for latency in record.latency:
        for reason in latency.disturbed:
            yield f"latency at batch size {latency.batch_size}", reason
