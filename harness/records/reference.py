"""Reference records: those that multi-task gains are taken against."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.errors import UsageError, unknown
from harness.records import Gain, Record, conditions
from harness.records.gain import gain_over_one, is_reference_of


def with_gains(records: Sequence[Record], reference: str | None = None) -> list[Record]:
    """Return copies of scored records with their gains.

    Without a reference, the gains of measured records are taken again against the records of the reference method with
    the same conditions, backbone and seed, where these are among the records; other gains stay as they are stored.

    Args:
        records: The records; those that were not scored are returned as they are.
        reference: run_id of a record, or name of a method whose record with the same backbone and seed is meant.

    Raises:
        UsageError: no record is called so, or several fit.
    """
    if reference is not None and not any(reference in (record.run_id, record.method.name) for record in records):
        names = {name: None for record in records if record.metrics for name in (record.method.name, record.run_id)}
        raise UsageError(unknown("reference", reference, names))
    # Few records are references, and few references fit one record: looking at all pairs takes a minute for 5 000.
    known: dict[object, list[Record]] = defaultdict(list)
    for other in records:
        if other.method.is_reference if reference is None else reference in (other.run_id, other.method.name):
            known[_shared(other, reference)].append(other)
    return [_with_gain(record, known, reference) if record.metrics else record for record in records]


def _shared(record: Record, reference: str | None) -> object:
    """Return what a record shares with its references: conditions, and unless one is named, backbone and seed."""
    own = (record.method.backbone, record.seed) if reference is None else ()
    return repr(conditions(record)), *own


def _with_gain(record: Record, known: Mapping[object, Sequence[Record]], reference: str | None) -> Record:
    found = _references(record, known.get(_shared(record, reference), ()), reference)
    if len(found) > 1 and reference is not None:
        names = " or ".join(other.run_id for other in found)
        raise UsageError(f"--reference {reference}: several records fit {record.run_id}; name one: {names}")
    if found:
        return record.model_copy(update={"delta_m": gain_over_one(record, found)})
    if reference is None:
        return record
    lacking = f"no record of {reference} under these conditions, with this backbone and seed"
    return record.model_copy(update={"delta_m": Gain(value=None, reference=None, reason=lacking)})


def _references(record: Record, candidates: Sequence[Record], reference: str | None) -> list[Record]:
    """Return the records that the gain of a record may be taken against.

    Args:
        record: The record.
        candidates: References made under its conditions.
        reference: run_id of the wanted one, or name of its method; None for any reference method.
    """
    if reference is None:
        return [other for other in candidates if is_reference_of(other, record)]
    backbone, seed = record.method.backbone, record.seed
    return [
        other
        for other in candidates
        if other.run_id == reference or (other.method.backbone == backbone and other.seed == seed)
    ]
