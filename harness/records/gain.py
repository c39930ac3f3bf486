"""Fills the multi-task gain of records from the single-task records beside them."""

from collections.abc import Sequence
from pathlib import Path

from harness.records import Gain, Record, conditions, find_records, headlines, write_record
from harness.records.delta_m import delta_m
from harness.records.effort import effort_against, images_seen
from harness.records.metric import Metric


def fill_gains(records: Sequence[Record], output: Path) -> None:
    """Set ``delta_m`` of every record and write those that changed.

    The reference is the complete record below ``output`` of a reference method with the same data, backbone,
    protocol, input size, budget, precision, seed and training; several such records give no gain.

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
    found = [other for other in others if is_reference_of(other, record)]
    if not found:
        missing = (
            f"no single-task record of {record.method.backbone}, budget {record.budget}, seed {record.seed} on this "
            f"data; run -m single-task too"
        )
        return Gain(value=None, reference=None, reason=missing)
    return gain_over_one(record, found)


def gain_over_one(record: Record, references: Sequence[Record]) -> Gain:
    """Return the gain of a record over the only reference; where there are several, none is picked.

    References of earlier code do not count next to those of the newest: a method that was edited leaves both behind.
    Of references of different training effort, the one of the least that is not less than the record's is taken, and
    where all are less, the one of the most.
    """
    newest = max(references, key=lambda reference: reference.created_at)
    references = [reference for reference in references if _code(reference) == _code(newest)]
    if enough := [reference for reference in references if effort_against(record, reference) == "equal"]:
        least = min(images_seen(reference) or (0, 0) for reference in enough)
        references = [reference for reference in enough if (images_seen(reference) or (0, 0)) == least]
    else:
        most = max(images_seen(reference) or (0, 0) for reference in references)
        references = [reference for reference in references if (images_seen(reference) or (0, 0)) == most]
    if len(references) > 1:
        names = ", ".join(sorted(other.run_id for other in references))
        return Gain(value=None, reference=None, reason=f"several references fit: {names}")
    return gain_over(record, references[0])


def gain_over(record: Record, reference: Record) -> Gain:
    """Return the gain of a record over another, which must have been made under the same conditions."""
    gain = delta_m(gained(record), gained(reference))
    effort = effort_against(record, reference)
    return Gain(value=gain.value, reference=reference.run_id, reason=gain.reason, effort=effort)


def gained(record: Record) -> dict[str, Metric]:
    """Return the metric of every task that the gain is of: the headline, but for saliency scored image by image.

    ASTMT and MTI-Net, whose meters average over images, take the gain of the mean IoU of salient pixels, not of maxF
    (Maninis et al., CVPR 2019); only their modes measure it.
    """
    found = headlines(record)
    if "miou" in record.metrics.get("saliency", {}):
        found["saliency"] = record.metrics["saliency"]["miou"]
    return found


def is_reference_of(other: Record, record: Record) -> bool:
    """Return whether a record's gain may be taken against another: the same conditions, encoder, seed and training."""
    return (
        other.method.is_reference
        and other.source == "measured"
        and other.status == "complete"
        and other.method.backbone == record.method.backbone
        and other.seed == record.seed
        and conditions(other) == conditions(record)
        and (not (other.training and record.training) or _training(other) == _training(record))
    )


def _code(record: Record) -> tuple[object, ...]:
    """Return the code of a run, as far as its identity depends on it."""
    return record.method.source, record.harness.version


def _training(record: Record) -> tuple[object, ...]:
    """Return what a fair reference shares of its training; methods differ in their stages."""
    return record.dataset.train_fingerprint, record.config.get("iterations"), record.method.init
