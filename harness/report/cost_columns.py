"""The columns of costs in the papers' table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.records import Record
from harness.records.costs import Latency
from harness.records.groups import Group
from harness.records.machine import latency_reasons, machine, one_machine
from harness.report.cells import Cell, Column, pooled
from harness.report.notes import Notes

MACS = Column("macs", "MACs G", "lower", "MACs", "giga", 1e-9, ranked=True)
PARAMETERS = Column("parameters", "Params M", "lower", "parameters", "millions", 1e-6, ranked=True)
ARTIFACT = Column("artifact", "Artifact MB", "lower", "bytes", "mb", 1e-6, ranked=True)
LATENCY = Column("latency_p50", "Latency ms", "lower", "ms", "ms", ranked=True)
RATIO = Column("latency_ratio", "Latency ×", "lower", "ratio")
DENSE = Column("macs_dense", "Dense MACs G", "lower", "MACs", "giga", 1e-9)
IDEAL = Column("macs_ideal", "Ideal MACs G", "lower", "MACs", "giga", 1e-9)
ZIPPED = Column("zipped", "Zipped MB", "lower", "bytes", "mb", 1e-6, ranked=True)
LATENCY_P95 = Column("latency_p95", "Latency p95 ms", "lower", "ms", "ms", ranked=True)
FLOORS = Column("floor_multiple", "Floors", "lower", "ratio", decimals=1)
IMAGES = Column("images_per_second", "Images/s", "higher", "images/s", decimals=1, ranked=True)
GPU_MEMORY = Column("gpu_peak", "GPU memory MB", "lower", "bytes", "mb", 1e-6, decimals=0)
RESIDENT = Column("resident_peak", "Resident MB", "lower", "bytes", "mb", 1e-6, decimals=0)
ENERGY = Column("joules_per_image", "J/image", "lower", "J", decimals=2)

PAPER = (MACS, PARAMETERS, ARTIFACT, LATENCY, RATIO)
WIDE = (
    *(MACS, DENSE, IDEAL, PARAMETERS, ARTIFACT, ZIPPED, LATENCY, LATENCY_P95, RATIO, FLOORS, IMAGES),
    *(GPU_MEMORY, RESIDENT, ENERGY),
)
ALWAYS = (PARAMETERS, ARTIFACT)
"""Columns that a table of measured records always has; the others it has where a method has the figure."""

_PROBES = {MACS: "macs", LATENCY: "latency", ARTIFACT: "storage"}
"""Column to the probe that fills it."""

_OF_RECORD: Mapping[Column, Callable[[Record], float | None]] = {
    MACS: lambda r: r.macs.executed.mean if r.macs else None,
    DENSE: lambda r: r.macs.dense.mean if r.macs else None,
    IDEAL: lambda r: r.macs.ideal.mean if r.macs and r.macs.ideal else None,
    PARAMETERS: lambda r: r.parameters.total if r.parameters else None,
    ARTIFACT: lambda r: r.storage.artifact_bytes if r.storage else None,
    ZIPPED: lambda r: r.storage.zipped_bytes if r.storage else None,
    GPU_MEMORY: lambda r: r.memory.inference.allocated_bytes if r.memory and r.memory.inference else None,
    RESIDENT: lambda r: r.memory.resident.peak_bytes if r.memory and r.memory.resident else None,
    ENERGY: lambda r: r.energy.joules_per_image if r.energy else None,
}

_OF_LATENCY: Mapping[Column, Callable[[Latency], float | None]] = {
    LATENCY: lambda latency: latency.p50_ms,
    LATENCY_P95: lambda latency: latency.p95_ms,
    IMAGES: lambda latency: latency.images_per_second,
    FLOORS: lambda latency: latency.floor.multiple if latency.floor else None,
}


class CostColumns:
    """Cells, caption and notes of the costs of some records.

    Latencies stand in the table at the smallest batch size, and only if all are of one machine; ratios of latencies
    only where they are to a reference method, or all to the same one.

    Args:
        records: All records of the table.
        columns: `PAPER` or `WIDE`.
    """

    def __init__(self, records: Sequence[Record], columns: Sequence[Column]) -> None:
        self.records = records
        self.columns = columns
        self.comparable = one_machine(records)
        self.batch_size = min((one.batch_size for record in records for one in record.latency), default=None)
        against = {one.paired.reference for record in records for one in record.latency if one.paired}
        references = against & {record.run_id for record in records if record.method.is_reference}
        self._references = references or (against if len(against) == 1 else set())

    def cells(self, group: Group) -> dict[str, Cell]:
        """Return the cells of a row."""
        cells: dict[str, Cell] = {}
        for column in self.columns:
            if column in _OF_RECORD:
                cells[column.key] = pooled(map(_OF_RECORD[column], group.records))
            else:
                latencies = [latency for record in group.records for latency in self._shown(record)]
                pick = self._ratio if column == RATIO else _OF_LATENCY[column]
                cells[column.key] = pooled(map(pick, latencies))
        return cells

    def caption(self) -> str | None:
        """Return what the latencies are of; None where none is shown."""
        timed = next(self._timed(), None)
        return f"latency at batch size {self.batch_size} on {machine(timed)}" if timed else None

    def facts(self) -> dict[str, Any]:
        """Return the same for programs."""
        timed = next(self._timed(), None)
        return {
            "latency_batch_size": self.batch_size if timed else None,
            "latency_machine": machine(timed) if timed else None,
        }

    def note(self, group: Group, shown: Sequence[Column], notes: Notes) -> None:
        """Say why figures of a row are missing, or not to be trusted.

        Args:
            group: The row.
            shown: Columns of the table.
            notes: Where to say it.
        """
        cells = self.cells(group)
        for column, probe in _PROBES.items():
            reason = next((record.unmeasured[probe] for record in group.records if probe in record.unmeasured), None)
            if column in shown and cells[column.key] is None and (reason or column not in ALWAYS):
                notes.add(column.title, reason or "not measured", group.name)
        if not self.comparable:
            for one in notes.labels:
                notes.add("", "latencies were measured on several machines and are left out", one)
        elif LATENCY in shown:
            for record in group.records:
                for subject, reason in latency_reasons(record):
                    notes.add(subject, reason, group.name)

    def _ratio(self, latency: Latency) -> float | None:
        paired = latency.paired
        return paired.ratio if paired and paired.reference in self._references else None

    def _timed(self) -> Iterator[Record]:
        return (record for record in self.records if self._shown(record))

    def _shown(self, record: Record) -> list[Latency]:
        return [one for one in record.latency if self.comparable and one.batch_size == self.batch_size]
