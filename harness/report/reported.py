"""What reported rows have of their own: daggers, sources, and costs and gains as they are printed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.records import Record, Reported
from harness.report.cells import Cell, Column, Figure, size
from harness.report.notes import merged

INPUT = Column("input_size", "Input")
DAGGER, DOUBLE_DAGGER = "†", "‡"

_PRINTED: Mapping[Column, Callable[[Reported], float | None]] = {
    Column("printed_delta_m", "Printed Δm %", "higher", "percent", "percent", signed=True): (
        lambda reported: reported.delta_m_percent
    ),
    Column("printed_gflops", "Printed GFLOPs", "lower", "GFLOPs or GMACs"): lambda reported: reported.gflops,
    Column("printed_parameters", "Printed params M", "lower", "millions", "millions"): (
        lambda reported: reported.parameters_m
    ),
    Column("printed_latency", "Printed latency ms", "lower", "ms", "ms"): lambda reported: reported.latency_ms,
}
"""Figures that are never ranked: sources count differently, on different machines, against different references."""

PRINTED = tuple(_PRINTED)

_TIERS = {"own": "by its authors", "quoted": "quoted"}

_UNRANKED = "what is printed of costs and gains follows each source's own way of counting and is not ranked"


class Sources:
    """Numbers the documents that reported rows come from.

    Args:
        records: All records of the table; measured ones have no source.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        found = [record.reported for record in records if record.reported]
        self._places: dict[tuple[str, str], list[str]] = {}
        for reported in found:
            self._places.setdefault((reported.source, reported.tier), []).append(reported.locator)
        self._numbers = {key: number for number, key in enumerate(self._places, start=1)}
        self._printed = any(value_of(reported) is not None for reported in found for value_of in _PRINTED.values())
        self._differs = list(dict.fromkeys(reported.differs for reported in found if reported.differs))

    def signs(self, record: Record) -> tuple[str, ...]:
        """Return what stands behind the name of a row."""
        reported = record.reported
        if reported is None:
            return ()
        number = self._numbers[reported.source, reported.tier]
        return (f"{DAGGER}{number}", *([DOUBLE_DAGGER] if reported.differs else []))

    def notes(self) -> list[str]:
        """Return the documents, and why rows are known not to compare with others."""
        sources = [
            f"{DAGGER}{self._numbers[source, tier]} reported, {_TIERS[tier]}: {source}; {'; '.join(merged(places))}"
            for (source, tier), places in self._places.items()
        ]
        return [
            *sources,
            *(f"{DOUBLE_DAGGER} not comparable with other sources: {reason}" for reason in self._differs),
            *([_UNRANKED] if self._printed else []),
        ]


def printed_cells(record: Record) -> dict[str, Cell]:
    """Return the cells that only reported rows have."""
    reported = record.reported
    if reported is None:
        return {}
    cells: dict[str, Cell] = {INPUT.key: size(record)}
    for column, value_of in _PRINTED.items():
        value = value_of(reported)
        cells[column.key] = None if value is None else Figure(value)
    return cells


def origin(record: Record) -> dict[str, Any]:
    """Return what programs should know of a reported row; nothing of a measured one."""
    reported = record.reported
    if reported is None:
        return {}
    told = reported.model_dump(include={"locator", "tier", "note", "differs"})
    return {"document": reported.source, **told, "venue": record.method.paper}
