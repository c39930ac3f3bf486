"""The columns of costs in the papers' table."""

from collections.abc import Sequence

from harness.costs import Latency
from harness.records import Record
from harness.report.cells import DASH, spread
from harness.report.machine import latency_notes, machine, one_machine

MACS, LATENCY, RATIO = "MACs G ↓", "Latency ms ↓", "Latency × ↓"
OPTIONAL = (MACS, LATENCY, RATIO)
"""Columns that a table has only where a method has the figure."""

_PROBES = {MACS: "macs", LATENCY: "latency", "Artifact MB ↓": "storage"}
"""Column to the probe that fills it."""


class CostColumns:
    """Cells, caption and notes of the costs of some records.

    Latencies stand in the table at the smallest batch size, and only if all are of one machine.

    Args:
        records: All records of the table.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.comparable = one_machine(records)
        self.batch_size = min((one.batch_size for record in records for one in record.latency), default=None)

    def cells(self, group: Sequence[Record]) -> dict[str, str]:
        """Return the cells of one row by column.

        Args:
            group: The records of one method, one per seed.
        """
        latencies = [latency for record in group for latency in self._shown(record)]
        return {
            MACS: spread([record.macs.executed.mean / 1e9 for record in group if record.macs], _plain),
            "Params M ↓": spread([r.parameters.total / 1e6 for r in group if r.parameters], _plain),
            "Artifact MB ↓": spread([r.storage.artifact_bytes / 1e6 for r in group if r.storage], _plain),
            LATENCY: spread([latency.p50_ms for latency in latencies], _plain),
            RATIO: spread([latency.paired.ratio for latency in latencies if latency.paired], _plain),
        }

    def caption(self) -> str | None:
        """Return what the latencies are of; None where none is shown."""
        timed = [record for record in self.records if self._shown(record)]
        return f"latency at batch size {self.batch_size} on {machine(timed[0])}" if timed else None

    def notes(self, group: Sequence[Record], columns: Sequence[str]) -> list[str]:
        """Return why figures of one row are missing, or not to be trusted.

        Args:
            group: The records of the row.
            columns: Columns of the table.
        """
        name, cells = group[0].method.name, self.cells(group)
        notes = []
        for column, probe in _PROBES.items():
            reason = next((record.unmeasured[probe] for record in group if probe in record.unmeasured), None)
            if column in columns and cells[column] == DASH and (reason or column in OPTIONAL):
                notes.append(f"{column[:-2]} of {name}: {reason or 'not measured'}")
        if not self.comparable:
            notes.append("latencies were measured on several machines and are left out")
        elif LATENCY in columns:
            notes += [note for record in group for note in latency_notes(record)]
        return notes

    def _shown(self, record: Record) -> list[Latency]:
        return [one for one in record.latency if self.comparable and one.batch_size == self.batch_size]


def _plain(value: float) -> str:
    return f"{value:.2f}"
