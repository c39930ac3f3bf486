"""Fills the multi-task gain of records from the single-task records beside them."""

from collections.abc import Sequence
from pathlib import Path

from harness.records import Gain, Record, conditions, find_records, headlines, write_record
from harness.tasks.delta_m import delta_m


def fill_gains(records: Sequence[Record], output: Path) -> None:
    """Set ``delta_m`` of every record and write those that changed.

    The reference is the complete record below ``output`` of a reference method with the same data, backbone,
    protocol, input size, budget, precision and seed.

    Args:
        records: Complete records.
        output: Results folder, ``<dataset>/<run>/record.json`` below it.
    """
    known = {record.dataset.name: list(find_records(output / record.dataset.name)) for record in records}
    for record in records:
        gain = _gain(record, known[record.dataset.name])
        if gain != record.delta_m:
            record.delta_m = gain
            write_record(record, output / record.run_id)


def _gain(record: Record, others: Sequence[Record]) -> Gain:
    reference = next((other for other in others if _is_reference(other, record)), None)
    if reference is None:
        missing = (
            f"no single-task record of {record.method.backbone}, budget {record.budget}, seed {record.seed} on this "
            f"data; run -m single-task too"
        )
        return Gain(value=None, reference=None, reason=missing)
    return gain_over(record, reference)


def gain_over(record: Record, reference: Record) -> Gain:
    """Return the gain of a record over another, which must have been made under the same conditions."""
    gain = delta_m(headlines(record), headlines(reference))
    return Gain(value=gain.value, reference=reference.run_id, reason=gain.reason)


def _is_reference(other: Record, record: Record) -> bool:
    return (
        other.method.is_reference
        and other.status == "complete"
        and other.method.backbone == record.method.backbone
        and other.seed == record.seed
        and conditions(other) == conditions(record)
    )
