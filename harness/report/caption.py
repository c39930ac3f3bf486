"""The conditions that the rows of a table share, in words and for programs."""

from collections.abc import Sequence
from typing import Any

from harness.records import Record
from harness.records.effort import images_seen
from harness.report.cells import size


def caption(records: Sequence[Record], timed: str | None, known: Sequence[Record]) -> str:
    """Return the conditions of a table in words.

    Args:
        records: All records of the table.
        timed: Conditions of the latencies; None where there are none.
        known: Records that a gain may have been taken against.
    """
    first, dataset = records[0], records[0].dataset
    if first.reported:
        synthetic = " (synthetic, rendered scenes)" if dataset.synthetic else ""
        parts = [f"{dataset.name}{synthetic}, as reported by papers and repositories, not measured here"]
        parts += [f"known to differ from other reports ({first.reported.differs})"] if first.reported.differs else []
    elif first.costs_only:
        parts = [f"{dataset.name} (costs alone, on random images of {size(first)})", str(first.precision)]
    else:
        kind = "synthetic, rendered scenes" if dataset.synthetic else "real images"
        parts = [
            f"{dataset.name} ({kind}; build {dataset.build})",
            f"{dataset.n_evaluated} of {dataset.n_expected} {dataset.split} images",
            f"input {size(first)}",
            f"protocol {first.protocol_name}",
            f"budget {first.budget}, {first.precision}" if first.budget else "predictions made elsewhere",
        ]
    names = {record.run_id: f"{record.method.name} ({record.method.backbone})" for record in known}
    against = list(dict.fromkeys(names.get(run_id, run_id) for run_id in references(records)))
    parts += [f"Δm against {'; '.join(against)}"] if against else []
    seen = {images_seen(record) for record in records}
    if len(seen) == 1 and (images := seen.pop()) and images[0] == images[1]:
        parts.append(f"every task trained on {images[0]} images")
    if any(record.method.init == "pretrained" and record.method.checkpoint for record in records):
        parts.append("encoders pretrained by this project on other rendered scenes")
    parts += [timed] if timed else []
    return ", ".join(parts if first.reported else [*parts, first.source])


def references(records: Sequence[Record]) -> list[str]:
    """Return the run_ids that the gains of records are against."""
    gains = [record.delta_m for record in records if record.delta_m]
    return list(dict.fromkeys(gain.reference for gain in gains if gain.reference and gain.value is not None))


def facts(records: Sequence[Record]) -> dict[str, Any]:
    """Return the conditions of a table for programs; what does not apply is null."""
    first, dataset = records[0], records[0].dataset
    return {
        "source": first.source,
        "dataset": dataset.name,
        "synthetic": dataset.synthetic,
        "build": dataset.build,
        "split": dataset.split,
        "fingerprint": dataset.fingerprint,
        "n_evaluated": dataset.n_evaluated,
        "protocol_name": first.protocol_name,
        "protocol": first.protocol,
        "input_size": None if first.reported or first.input_size is None else size(first),
        "budget": first.budget,
        "precision": first.precision,
        "delta_m_references": references(records),
    }
