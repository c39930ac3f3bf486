"""Tables of costs, for people: one row per method, backbone, precision and batch size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.records import Record
from harness.records.groups import groups_of
from harness.records.machine import execution, machine
from harness.report import cost_columns as costs
from harness.report.caption import facts
from harness.report.cells import Cell, Column, Figure, size
from harness.report.cost_rows import Row as Costs
from harness.report.cost_rows import cost_rows
from harness.report.grid import BACKBONE, METHOD, Row, Table, filled
from harness.report.notes import Notes

_PRECISION, _BATCH = Column("precision", "Precision"), Column("batch_size", "Batch", unit="images", decimals=0)

_COLUMNS: Mapping[Column, str] = {
    costs.MACS: "macs",
    costs.PARAMETERS: "parameters",
    costs.ARTIFACT: "artifact_bytes",
    costs.ZIPPED: "zipped_bytes",
    costs.GPU_MEMORY: "gpu_peak_bytes",
    costs.RESIDENT: "resident_peak_bytes",
    costs.LATENCY: "latency_p50_ms",
    costs.RATIO: "ratio_to_reference",
    costs.FLOORS: "floor_multiple",
    costs.IMAGES: "images_per_second",
    costs.ENERGY: "joules_per_image",
}
"""Column to the key of a row of costs. None is ranked: the rows differ in precision and batch size."""


def cost_tables(records: Sequence[Record]) -> list[Table]:
    """Return the tables of records of ``harness bench``: one per data set, input size and machine.

    Args:
        records: In the order of the rows.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        weights = (record.method.init, record.method.checkpoint)
        key = (
            record.source,
            record.dataset.name,
            record.input_size,
            record.system_id,
            record.device,
            execution(record),
            weights,
        )
        groups.setdefault(key, []).append(record)
    return [_table(group) for group in groups.values()]


def _table(records: Sequence[Record]) -> Table:
    labels = {record.run_id: group.label for group in groups_of(records) for record in group.records}
    held = [(record, row) for record in records for row in cost_rows(record, Path())]
    rows = [_row(labels[record.run_id], row, record) for record, row in held]
    columns = (METHOD, BACKBONE, _PRECISION, _BATCH, *filled(tuple(_COLUMNS), rows))
    first = next((record for record in records if record.latency), records[0])
    conditions = facts(records) | {"precision": None, "latency_machine": machine(first)}
    return Table(columns, tuple(rows), _caption(first), _notes(held, labels), conditions)


def _row(label: str, costs_of: Costs, record: Record) -> Row:
    cells: dict[str, Cell] = {
        METHOD.key: label,
        BACKBONE.key: record.method.backbone,
        _PRECISION.key: record.precision,
        _BATCH.key: Figure(costs_of["batch_size"]),
    }
    for column, key in _COLUMNS.items():
        cells[column.key] = None if costs_of[key] is None else Figure(costs_of[key])
    return Row(cells, facts={"run_ids": [record.run_id]})


def _caption(first: Record) -> str:
    weights = "random weights" if first.method.init == "random" else f"weights of {first.method.checkpoint}"
    how = [f"tasks of {first.dataset.name}", f"random images of {size(first)}", weights, machine(first)]
    if first.latency:
        latency = first.latency[0]
        how += [f"compiled in mode {latency.compiled}"] if latency.compiled else []
        how += ["replayed as a CUDA graph"] if latency.cuda_graph else []
        how += ["channels last"] if latency.channels_last else []
    return ", ".join([*how, first.source])


def _notes(held: Sequence[tuple[Record, Costs]], labels: Mapping[str, str]) -> tuple[str, ...]:
    def name(record: Record, batch_size: int) -> str:
        method = record.method
        return f"{labels[record.run_id]} ({method.backbone}, {record.precision}, batch {batch_size})"

    notes = Notes([name(record, row["batch_size"]) for record, row in held])
    for record, row in held:
        for probe, reason in row["unmeasured"].items():
            notes.add(probe, reason, name(record, row["batch_size"]))
        for warning in record.warnings:
            notes.add("", warning, name(record, row["batch_size"]))
    for record, row in held:
        for latency in record.latency:
            if latency.batch_size == row["batch_size"]:
                for reason in latency.disturbed:
                    notes.add("latency", reason, name(record, row["batch_size"]))
    return tuple(notes.lines())
