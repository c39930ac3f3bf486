"""Tables of costs, for people: one row per method, backbone, precision and batch size."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.records import Record
from harness.report.cells import DASH, size
from harness.report.cost_rows import Row, cost_rows
from harness.report.machine import latency_notes, machine
from harness.report.table import Table

_COLUMNS: dict[str, tuple[str, float, str]] = {
    "macs": ("MACs G ↓", 1e-9, ".2f"),
    "parameters": ("Params M ↓", 1e-6, ".2f"),
    "artifact_bytes": ("Artifact MB ↓", 1e-6, ".2f"),
    "zipped_bytes": ("Zipped MB ↓", 1e-6, ".2f"),
    "gpu_peak_bytes": ("GPU memory MB ↓", 1e-6, ".0f"),
    "resident_peak_bytes": ("Resident MB ↓", 1e-6, ".0f"),
    "latency_p50_ms": ("Latency ms ↓", 1.0, ".2f"),
    "ratio_to_reference": ("Latency × ↓", 1.0, ".2f"),
    "floor_multiple": ("Floors ↓", 1.0, ".1f"),
    "images_per_second": ("Images/s ↑", 1.0, ".1f"),
    "joules_per_image": ("J/image ↓", 1.0, ".2f"),
}
"""Key of a row to the title of its column, the factor and the format."""


def cost_tables(records: Sequence[Record]) -> list[Table]:
    """Return the tables of records of ``harness bench``: one per data set, input size and machine.

    Args:
        records: In the order of the rows.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key = (record.source, record.dataset.name, record.input_size, record.system_id, record.device)
        groups.setdefault(key, []).append(record)
    return [_table(group) for group in groups.values()]


def _table(records: Sequence[Record]) -> Table:
    rows = [row for record in records for row in cost_rows(record, Path())]
    shown = [key for key in _COLUMNS if any(row[key] is not None for row in rows)]
    varied = _varied(rows)
    frame = pd.DataFrame([_cells(row, shown, varied) for row in rows])
    return Table(frame, _caption(records), _notes(records, rows))


def _varied(rows: Sequence[Row]) -> list[str]:
    """Return the options in which rows of one method differ."""
    by_method: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        for key, value in row["options"].items():
            by_method[row["method"]][key].add(str(value))
    return [key for seen in by_method.values() for key, values in seen.items() if len(values) > 1]


def _cells(row: Row, shown: Sequence[str], varied: Sequence[str]) -> dict[str, str]:
    options = [f"{key}={row['options'][key]}" for key in varied if key in row["options"]]
    cells = {
        "Method": " ".join([row["method"], *options]),
        "Backbone": row["backbone"],
        "Precision": row["precision"],
        "Batch": str(row["batch_size"]),
    }
    for key in shown:
        title, factor, form = _COLUMNS[key]
        cells[title] = DASH if row[key] is None else format(row[key] * factor, form)
    return cells


def _caption(records: Sequence[Record]) -> str:
    first = next((record for record in records if record.latency), records[0])
    weights = "random weights" if first.method.init == "random" else f"weights of {first.method.checkpoint}"
    how = [f"tasks of {first.dataset.name}", f"random images of {size(first)}", weights, machine(first)]
    if first.latency:
        latency = first.latency[0]
        how += [f"compiled in mode {latency.compiled}"] if latency.compiled else []
        how += ["replayed as a CUDA graph"] if latency.cuda_graph else []
        how += ["channels last"] if latency.channels_last else []
    return ", ".join([*how, first.source])


def _notes(records: Sequence[Record], rows: Sequence[Row]) -> list[str]:
    missing: dict[str, list[str]] = {}
    for row in rows:
        for probe, reason in row["unmeasured"].items():
            name = f"{row['method']} ({row['backbone']}, {row['precision']}, batch {row['batch_size']})"
            missing.setdefault(f"{probe}: {reason}", []).append(name)
    notes = [line if len(names) == len(rows) else f"{line}: {', '.join(names)}" for line, names in missing.items()]
    told = [line for record in records for line in [*record.warnings, *latency_notes(record)]]
    return [*notes, *dict.fromkeys(told)]
