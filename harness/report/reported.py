"""Reported rows: daggers, sources, and costs and gains as they are printed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.records import Record, Reported
from harness.report.cells import Cell, Column, Number, size
from harness.report.grid import merged

INPUT = Column("input_size", "Input")
DAGGER, DOUBLE_DAGGER = "†", "‡"

OTHER_REFERENCE = "¶"
"""Sign of a gain over the single-task row of another document."""

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
"""Values that are never ranked: sources count differently, on different machines, against different references."""

PRINTED = tuple(_PRINTED)

_TIERS = {"own": "by its authors", "quoted": "quoted"}

_UNRANKED = "what is printed of costs and gains follows each source's own way of counting and is not ranked"


def other_documents(records: Sequence[Record], known: Sequence[Record]) -> dict[str, str]:
    """Return the reported records whose gain is over a row of another document, with that document, by run_id.

    Papers train their single-task nets differently, so such a gain also has the difference of the two trainings.

    Args:
        records: Records with gains.
        known: Records that gains may have been taken against.
    """
    documents = {record.run_id: record.reported.source for record in known if record.reported}
    found = {}
    for record in records:
        gain = record.delta_m
        if record.reported and gain and gain.value is not None and gain.reference in documents:
            document = documents[gain.reference]
            if document != record.reported.source:
                found[record.run_id] = document
    return found


def other_documents_note(documents: Sequence[str]) -> str:
    """Return the note of gains over rows of other documents."""
    named = "; ".join(dict.fromkeys(documents))
    return f"{OTHER_REFERENCE} Δm against a single-task row that another document prints: {named}"


class Sources:
    """The documents that reported rows come from, numbered.

    Args:
        records: All records of the table; measured ones have no source.
        known: Further records that gains may have been taken against.
    """

    def __init__(self, records: Sequence[Record], known: Sequence[Record] = ()) -> None:
        # Numbers in the order of the rows; one document may be printed by its authors here and quoted there.
        found = [record.reported for record in records if record.reported]
        self._places: dict[tuple[str, str], list[str]] = {}
        for reported in found:
            self._places.setdefault((reported.source, reported.tier), []).append(reported.locator)
        self._numbers = {key: number for number, key in enumerate(self._places, start=1)}
        self._printed = any(value_of(reported) is not None for reported in found for value_of in _PRINTED.values())
        self._differs = list(dict.fromkeys(reported.differs for reported in found if reported.differs))
        self._others = other_documents(records, [*records, *known])

    def signs(self, record: Record) -> tuple[str, ...]:
        """Return the signs behind the name of a row."""
        reported = record.reported
        if reported is None:
            return ()
        number = self._numbers[reported.source, reported.tier]
        return (f"{DAGGER}{number}", *([DOUBLE_DAGGER] if reported.differs else []))

    def other_reference(self, record: Record) -> bool:
        """Return whether a row's gain is over the single-task row of another document."""
        return record.run_id in self._others

    def notes(self) -> list[str]:
        """Return the documents, why rows are known not to compare with others, and which gains are over other rows."""
        sources = [
            f"{DAGGER}{self._numbers[source, tier]} reported, {_TIERS[tier]}: {source}; {'; '.join(merged(places))}"
            for (source, tier), places in self._places.items()
        ]
        return [
            *sources,
            *(f"{DOUBLE_DAGGER} not comparable with other sources: {reason}" for reason in self._differs),
            *([other_documents_note(list(self._others.values()))] if self._others else []),
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
        cells[column.key] = None if value is None else Number(value)
    return cells


def origin(record: Record) -> dict[str, Any]:
    """Return the source of a reported row for programs; nothing for a measured one."""
    reported = record.reported
    if reported is None:
        return {}
    origin = reported.model_dump(include={"locator", "tier", "note", "differs"})
    return {"document": reported.source, **origin, "venue": record.method.paper}
