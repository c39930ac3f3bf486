"""The costs of a record as flat rows, for programs: one per batch size, with the units in the names."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.records import RECORD_NAME, Record
from harness.records.costs import Latency
from harness.report.cells import size

Row = dict[str, Any]


def cost_rows(record: Record, output: Path) -> list[Row]:
    """Return the costs of a record of ``harness bench``, a row per batch size; what is unknown is null.

    Args:
        record: The record.
        output: Results folder it lies in.
    """
    known = {latency.batch_size: latency for latency in record.latency}
    return [
        _row(record, size, known.get(size), output) for size in record.config.get("batch_size") or sorted(known) or [1]
    ]


def as_csv(rows: list[Row]) -> str:
    """Return rows as CSV; lists and reasons become text."""
    text = [
        row
        | {key: "; ".join(row[key]) for key in ("disturbed", "warnings")}
        | {"options": "; ".join(f"{key}={value}" for key, value in row["options"].items())}
        | {"unmeasured": "; ".join(f"{probe}: {reason}" for probe, reason in row["unmeasured"].items())}
        for row in rows
    ]
    return pd.DataFrame(text).to_csv(index=False)


def _row(record: Record, batch_size: int, latency: Latency | None, output: Path) -> Row:
    return {
        "method": record.method.name,
        "options": record.method.options,
        "backbone": record.method.backbone,
        "dataset": record.dataset.name,
        "input_size": size(record),
        "precision": record.precision,
        "batch_size": batch_size,
        **_sizes(record),
        **_times(latency),
        **_at_work(record, batch_size),
        "disturbed": latency.disturbed if latency else [],
        "unmeasured": _reasons(record, batch_size, latency),
        "warnings": record.warnings,
        "device": record.device,
        "system_id": record.system_id,
        "record": str(output / record.run_id / RECORD_NAME),
    }


def _sizes(record: Record) -> Row:
    macs, storage = record.macs, record.storage
    return {
        "macs": macs and macs.executed.mean,
        "macs_dense": macs and macs.dense.mean,
        "macs_ideal": macs and macs.ideal and macs.ideal.mean,
        "flops": macs and 2 * macs.executed.mean,
        "parameters": record.parameters and record.parameters.total,
        "artifact_bytes": storage and storage.artifact_bytes,
        "zipped_bytes": storage and storage.zipped_bytes,
    }


def _times(latency: Latency | None) -> Row:
    paired, floor = (latency.paired, latency.floor) if latency else (None, None)
    return {
        "latency_p50_ms": latency and latency.p50_ms,
        "latency_p90_ms": latency and latency.p90_ms,
        "latency_p95_ms": latency and latency.p95_ms,
        "latency_p99_ms": latency and latency.p99_ms,
        "latency_iqr_ms": latency and latency.iqr_ms,
        "images_per_second": latency and latency.images_per_second,
        "ratio_to_reference": paired and paired.ratio,
        "ratio_low": paired and paired.low,
        "ratio_high": paired and paired.high,
        "reference": paired and paired.reference,
        "floor_ms": floor and floor.floor_ms,
        "floor_multiple": floor and floor.multiple,
        "compute_share": floor and floor.compute_share,
        "end_to_end_images_per_second": latency and latency.end_to_end and latency.end_to_end.images_per_second,
        "threads": latency and latency.threads,
        "compiled": latency and latency.compiled,
        "cuda_graph": latency and latency.cuda_graph,
        "channels_last": latency and latency.channels_last,
    }


def _at_work(record: Record, batch_size: int) -> Row:
    """Return memory and energy, which are measured at one batch size."""
    memory = record.memory if record.memory and record.memory.batch_size == batch_size else None
    energy = record.energy if record.energy and record.energy.batch_size == batch_size else None
    return {
        "gpu_peak_bytes": memory and memory.inference and memory.inference.allocated_bytes,
        "gpu_training_peak_bytes": memory and memory.training_step and memory.training_step.allocated_bytes,
        "resident_peak_bytes": memory and memory.resident and memory.resident.peak_bytes,
        "joules_per_image": energy and energy.joules_per_image,
    }


def _reasons(record: Record, batch_size: int, latency: Latency | None) -> dict[str, str]:
    """Return why figures of a row are null, by probe or by field of the memory."""
    reasons = dict(record.unmeasured)
    for name, cost in {"memory": record.memory, "energy": record.energy}.items():
        if cost is not None and cost.batch_size not in (batch_size, None):
            reasons[name] = f"measured at batch size {cost.batch_size} alone"
    if record.memory:
        reasons |= {f"memory.{field}": reason for field, reason in record.memory.reasons.items()}
    if record.energy and record.energy.reason:
        reasons["energy"] = record.energy.reason
    if latency and latency.floor is None:
        reasons["floor"] = "it follows from the probes macs and ceilings, taken with the latency"
    if latency and latency.end_to_end and latency.end_to_end.reason:
        reasons["end_to_end"] = latency.end_to_end.reason
    return reasons
