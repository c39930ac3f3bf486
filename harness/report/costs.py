"""Costs of ``harness bench``: flat rows for programs and tables for people, one row per batch size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.records import RECORD_NAME, Record
from harness.records.costs import Latency
from harness.records.groups import groups_of
from harness.records.machine import execution, machine
from harness.report import columns as shown
from harness.report.caption import facts
from harness.report.cells import Cell, Column, Number, size
from harness.report.formats.data import csv_lines
from harness.report.grid import BACKBONE, METHOD, Notes, Row, Table, filled
from harness.report.text import csv_text
from harness.report.values import cost

Costs = dict[str, Any]

_PRECISION, _BATCH = Column("precision", "Precision"), Column("batch_size", "Batch", unit="images", decimals=0)

_COLUMNS: Mapping[Column, str] = {
    **{column: shown.COST_OF[column] for column in (shown.MACS, shown.PARAMETERS, shown.TRAINABLE)},
    **{column: shown.COST_OF[column] for column in (shown.ARTIFACT, shown.ZIPPED)},
    **{column: shown.COST_OF[column] for column in (shown.GPU_MEMORY, shown.RESIDENT)},
    shown.LATENCY: "latency_p50_ms",
    shown.RATIO: "ratio_to_reference",
    shown.FLOORS: "floor_multiple",
    shown.IMAGES: "images_per_second",
    shown.ENERGY: "joules_per_image",
}
"""Column to the key of a row of costs. None is ranked: the rows differ in precision and batch size."""


def cost_rows(record: Record, output: Path) -> list[Costs]:
    """Return the costs of a record of ``harness bench``, a row per batch size; what is unknown is null.

    Args:
        record: The record.
        output: Results folder that it is in.
    """
    # Batch sizes that were asked for have a row even if nothing was timed; the reasons say why.
    known = {latency.batch_size: latency for latency in record.latency}
    asked = record.config.get("batch_size")  # a list where costs were asked for; of an evaluation, one number
    sizes = asked if isinstance(asked, list) and asked else sorted(known) or [1]
    return [
        {
            "method": record.method.name,
            "options": record.method.options,
            "backbone": record.method.backbone,
            "dataset": record.dataset.name,
            "input_size": size(record),
            "precision": record.precision,
            "batch_size": batch_size,
            **_costs(record, batch_size, known.get(batch_size)),
            "disturbed": known[batch_size].disturbed if batch_size in known else [],
            "unmeasured": _reasons(record, batch_size, known.get(batch_size)),
            "warnings": record.warnings,
            "device": record.device,
            "system_id": record.system_id,
            "record": str(output / record.run_id / RECORD_NAME),
        }
        for batch_size in sizes
    ]


def _costs(record: Record, batch_size: int, latency: Latency | None) -> Costs:
    """Return the costs of a row: of the record, of its latency at the batch size, and of the model at work."""
    macs = cost(record, "macs")
    sizes = {name: cost(record, name) for name in ("macs_dense", "macs_ideal")}
    sizes |= {"flops": None if macs is None else 2 * macs}
    sizes |= {
        name: cost(record, name) for name in ("parameters", "trainable_parameters", "artifact_bytes", "zipped_bytes")
    }
    paired, bound = (latency.paired, latency.floor) if latency else (None, None)
    times = {
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
        "floor_ms": bound and bound.floor_ms,
        "floor_multiple": bound and bound.multiple,
        "compute_share": bound and bound.compute_share,
        "end_to_end_images_per_second": latency and latency.end_to_end and latency.end_to_end.images_per_second,
        "threads": latency and latency.threads,
        "compiled": latency and latency.compiled,
        "cuda_graph": latency and latency.cuda_graph,
        "channels_last": latency and latency.channels_last,
        "runtime": latency and (latency.runtime if latency.compiled is None else "compile"),
        "quantise": latency and latency.quantise,
        "runtime_bytes": latency and latency.runtime_bytes,
    }
    # Memory and energy are measured at one batch size only.
    memory = record.memory is not None and record.memory.batch_size == batch_size
    energy = record.energy is not None and record.energy.batch_size == batch_size
    at_work = {
        name: cost(record, name) if memory else None
        for name in ("gpu_peak_bytes", "gpu_training_peak_bytes", "resident_peak_bytes")
    }
    at_work["joules_per_image"] = cost(record, "joules_per_image") if energy else None
    return {"macs": macs, **sizes, **times, **at_work}


def _reasons(record: Record, batch_size: int, latency: Latency | None) -> dict[str, str]:
    """Return why values of a row are null, by probe or by field of the memory."""
    reasons = dict(record.unmeasured)
    for name, measured in {"memory": record.memory, "energy": record.energy}.items():
        if measured is not None and measured.batch_size not in (batch_size, None):
            reasons[name] = f"measured at batch size {measured.batch_size} alone"
    if record.memory:
        reasons |= {f"memory.{field}": reason for field, reason in record.memory.reasons.items()}
    if record.parameters and record.parameters.reason:
        reasons["parameters.trainable"] = record.parameters.reason
    if record.energy and record.energy.reason:
        reasons["energy"] = record.energy.reason
    if latency and latency.floor is None:
        reasons["floor"] = "it follows from the probes macs and ceilings, taken with the latency"
    if latency and latency.end_to_end and latency.end_to_end.reason:
        reasons["end_to_end"] = latency.end_to_end.reason
    return reasons


def as_csv(rows: Sequence[Costs]) -> str:
    """Return rows of costs as CSV; lists and reasons become text."""
    flat = [
        row
        | {key: "; ".join(row[key]) for key in ("disturbed", "warnings")}
        | {"options": "; ".join(f"{key}={value}" for key, value in row["options"].items())}
        | {"unmeasured": "; ".join(f"{probe}: {reason}" for probe, reason in row["unmeasured"].items())}
        for row in rows
    ]
    safe = [{key: csv_text(value) if isinstance(value, str) else value for key, value in row.items()} for row in flat]
    names = list(dict.fromkeys(name for row in safe for name in row))
    return csv_lines([names, *([row.get(name) for name in names] for row in safe)])


def cost_tables(records: Sequence[Record]) -> list[Table]:
    """Return the tables of records of ``harness bench``: one per data set, input size and machine.

    Args:
        records: In the order of the rows.
    """
    # Precision and batch size are columns, so that tables differ in all other conditions alone.
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        weights = (record.method.init, record.method.checkpoint)
        where = (record.system_id, record.device, execution(record))
        key = (record.source, record.dataset.name, record.input_size, *where, weights)
        groups.setdefault(key, []).append(record)
    return [_table(group) for group in groups.values()]


def _table(records: Sequence[Record]) -> Table:
    labels = {record.run_id: group.label for group in groups_of(records) for record in group.records}
    found = [(record, row) for record in records for row in cost_rows(record, Path())]
    timed = [[one for one in record.latency if one.batch_size == row["batch_size"]] for record, row in found]
    # A session has one batch size and one precision, so that only rows that agree in both could share one.
    others = [False] * len(found)
    for setting in {(row["precision"], row["batch_size"]) for _, row in found}:
        places = [place for place, (_, row) in enumerate(found) if (row["precision"], row["batch_size"]) == setting]
        for place, other in zip(places, shown.other_session([timed[place] for place in places]), strict=True):
            others[place] = other
    # Cells of the rows.
    rows = []
    for (record, row), other in zip(found, others, strict=True):
        cells: dict[str, Cell] = {
            METHOD.key: labels[record.run_id],
            BACKBONE.key: record.method.backbone,
            _PRECISION.key: record.precision,
            _BATCH.key: Number(row["batch_size"]),
        }
        for column, key in _COLUMNS.items():
            number = None if row[key] is None else Number(row[key])
            if number and other and column in shown.TIME_OF:
                number = replace(number, sign=shown.SESSION)
            cells[column.key] = number
        rows.append(Row(cells, facts={"run_ids": [record.run_id]}))

    def name(record: Record, row: Costs) -> str:
        where = f"{record.method.backbone}, {record.precision}, batch {row['batch_size']}"
        return f"{labels[record.run_id]} ({where})"

    # Notes: reasons of empty cells, warnings, and disturbances of the latencies.
    notes = Notes([name(record, row) for record, row in found])
    for record, row in found:
        for probe, reason in row["unmeasured"].items():
            notes.add(probe, reason, name(record, row))
        for warning in record.warnings:
            notes.add("", warning, name(record, row))
    for (record, row), latencies in zip(found, timed, strict=True):
        for latency in latencies:
            for reason in latency.disturbed:
                notes.add("latency", reason, name(record, row))
    lines = (*notes.lines(), *([shown.SESSION_NOTE] if any(others) else []))
    first = next((record for record in records if record.latency), records[0])
    conditions = facts(records) | {"precision": None, "latency_machine": machine(first)}
    costs = [column for column in _COLUMNS if column != shown.TRAINABLE or shown.some_frozen(records)]
    columns = (METHOD, BACKBONE, _PRECISION, _BATCH, *filled(costs, rows))
    return Table(columns, tuple(rows), _caption(first), lines, conditions)


def _caption(first: Record) -> str:
    weights = "random weights" if first.method.init == "random" else f"weights of {first.method.checkpoint}"
    parts = [f"tasks of {first.dataset.name}", f"random images of {size(first)}", weights, machine(first)]
    if first.latency:
        latency = first.latency[0]
        parts += [f"compiled in mode {latency.compiled}"] if latency.compiled else []
        parts += ["replayed as a CUDA graph"] if latency.cuda_graph else []
        parts += ["channels last"] if latency.channels_last else []
        parts += [latency.served] if latency.served else []
    return ", ".join([*parts, first.source])
