"""The columns of metrics, of the multi-task gain and of costs, with the cells of a row."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.records import Gain, Record, units
from harness.records.costs import Latency
from harness.records.effort import effort_of
from harness.records.groups import Group
from harness.records.machine import latency_reasons, machine, one_machine
from harness.records.metric import Metric
from harness.report.cells import Cell, Column, Number, pooled
from harness.report.grid import Notes
from harness.report.values import cost, not_finite, time
from harness.tasks import TASK_FACTS

if TYPE_CHECKING:  # numpy and the meters are imported where intervals are asked for
    from harness.report.intervals import Intervals, Sample

DELTA_M = Column("delta_m", "Δm %", "higher", "percent", "percent", signed=True)

MACS = Column("macs", "MACs G", "lower", "MACs", "giga", 1e-9, ranked=True)
PARAMETERS = Column("parameters", "Params M", "lower", "parameters", "millions", 1e-6, ranked=True)
TRAINABLE = Column("trainable", "Trainable M", "lower", "parameters", "millions", 1e-6, ranked=True)
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

IMAGES_SEEN = Column("images_seen", "Images/task", unit="images", decimals=0)
STEPS = Column("steps", "Steps/task", unit="steps", decimals=0)
TRAINING = Column("training_macs", "Training TMACs", "lower", "MACs", "tera", units.TERA)

EFFORT = (IMAGES_SEEN, TRAINING)
"""Columns of what the training was given; they stand in every table in which some row has them."""
PAPER = (MACS, PARAMETERS, TRAINABLE, ARTIFACT, LATENCY, RATIO, *EFFORT)
WIDE = (
    *(STEPS, *EFFORT),
    *(MACS, DENSE, IDEAL, PARAMETERS, TRAINABLE, ARTIFACT, ZIPPED),
    *(LATENCY, LATENCY_P95, RATIO, FLOORS, IMAGES),
    *(GPU_MEMORY, RESIDENT, ENERGY),
)
ALWAYS = (PARAMETERS, ARTIFACT)
"""Columns that a table of measured records always has; the others it has where a method has the value."""

COST_OF: Mapping[Column, str] = {
    MACS: "macs",
    DENSE: "macs_dense",
    IDEAL: "macs_ideal",
    PARAMETERS: "parameters",
    TRAINABLE: "trainable_parameters",
    ARTIFACT: "artifact_bytes",
    ZIPPED: "zipped_bytes",
    GPU_MEMORY: "gpu_peak_bytes",
    RESIDENT: "resident_peak_bytes",
    ENERGY: "joules_per_image",
    TRAINING: "training_macs",
}
"""Column to the cost of a record that it shows."""

TIME_OF: Mapping[Column, str] = {
    LATENCY: "latency_p50_ms",
    LATENCY_P95: "latency_p95_ms",
    IMAGES: "images_per_second",
    FLOORS: "floor_multiple",
}
"""Column to the value of a latency that it shows."""

LESS_EFFORT = "‡"
"""Sign of a gain over a reference that was trained less."""

LESS_EFFORT_NOTE = (
    f"{LESS_EFFORT} against a reference that saw fewer images of some task: part of the gain is training; "
    f"`-m single-task --set effort=match` trains one of equal effort"
)

SESSION = "§"
"""Sign of a latency that was timed in another session than most of its column."""

SESSION_NOTE = (
    f"{SESSION} timed in another session than the others; milliseconds of two sessions do not compare, so these are "
    f"not ranked"
)


def metric_title(name: str, task: str, headline: bool) -> str:
    """Return the name of a metric in the papers."""
    known = units.METRIC_NAMES.get(name)
    return known or (TASK_FACTS[task].headline_title if task in TASK_FACTS and headline else name)


def task_title(task: str) -> str:
    """Return the name of a task for people; a task that is not installed keeps its name."""
    return TASK_FACTS[task].title if task in TASK_FACTS else task


def some_frozen(records: Sequence[Record]) -> bool:
    """Return whether the recipe of some method trains fewer parameters than it has: others have no need of a column."""
    counts = (record.parameters for record in records)
    return any(one.trainable is not None and one.trainable < one.total for one in counts if one)


def other_session(rows: Sequence[Sequence[Latency]]) -> list[bool]:
    """Return for every row whether its latencies are of another timing session than those of most rows.

    The rounds of one session are interleaved over all methods, so that load and clocks are the same for each. Two
    sessions differ in both, which may be more than what two methods differ by.

    Args:
        rows: Latencies of the records of every row.
    """
    sessions = [{latency.sampling.session for latency in row} for row in rows]
    # The session that most rows have; the rows of all others are marked.
    common = Counter(session for found in sessions for session in found).most_common(1)
    return [bool(found) and found != {common[0][0]} for found in sessions]


@dataclass(frozen=True)
class _Place:
    task: str
    metric: str


class AccuracyColumns:
    """The columns of metrics, in the order of the papers.

    Args:
        records: All records of the table.
        every: Whether all metrics have columns, or only the one of every task that the papers print.
    """

    def __init__(self, records: Sequence[Record], every: bool) -> None:
        # 1. Every metric, as the records come.
        self._columns: dict[_Place, Column] = {}
        for record in sorted(records, key=lambda record: -len(record.metrics)):  # one with all tasks gives the order
            for task, metrics in record.metrics.items():
                for name, metric in list(metrics.items())[: None if every else 1]:
                    unit = units.METRICS[metric.unit]
                    column = Column(
                        key=f"{task}_{name}",
                        title=f"{task_title(task)} {metric_title(name, task, name == next(iter(metrics)))}",
                        better="higher" if metric.higher_is_better else "lower",
                        unit=metric.unit,
                        shown=unit.word,
                        scale=unit.factor,
                        decimals=unit.decimals,
                        ranked=True,
                    )
                    self._columns.setdefault(_Place(task, name), column)
        # 2. The metrics of one task side by side, whichever record had them.
        tasks = list(dict.fromkeys(place.task for place in self._columns))
        self._columns = dict(sorted(self._columns.items(), key=lambda item: tasks.index(item[0].task)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns from left to right, without the gain."""
        return tuple(self._columns.values())

    def cells(self, group: Group) -> dict[str, Cell]:
        """Return the cells of a row, the gain among them."""
        cells: dict[str, Cell] = {}
        for place, column in self._columns.items():
            metrics = (record.metrics.get(place.task, {}).get(place.metric) for record in group.records)
            cells[column.key] = pooled(metric.value for metric in metrics if metric)
        cells[DELTA_M.key] = pooled(record.delta_m.value for record in group.records if record.delta_m)
        return cells

    def picks(self, intervals: "Intervals") -> dict[str, "Callable[[Record], Sample]"]:
        """Return how the values of each column and their draws are found, by the key of the column."""
        found: dict[str, Callable[[Record], Sample]] = {DELTA_M.key: intervals.gain}
        for place, column in self._columns.items():
            found[column.key] = partial(intervals.metric, task=place.task, name=place.metric)
        return found

    def note(self, group: Group, notes: Notes) -> None:
        """Note why values of a row are missing."""
        for place, column in self._columns.items():
            metrics = [record.metrics.get(place.task, {}).get(place.metric) for record in group.records]
            _note(column.title, [metric for metric in metrics if metric is not None], group, notes)
        _note("Δm", [record.delta_m for record in group.records if record.delta_m is not None], group, notes)


def _note(title: str, values: Sequence[Metric | Gain], group: Group, notes: Notes) -> None:
    """Note why values of a row are missing; if only some seeds have one, of how many the mean is."""
    known = sum(value.value is not None for value in values)
    for value in values:
        if value.reason:
            counted = f"mean of {known} of {len(group.records)} seeds; " if known else ""
            notes.add(title, f"{counted}{value.reason}", group.name)


def _span(records: Sequence[Record], column: Column) -> Cell:
    """Return the steps or images of a task; where tasks differ, the fewest and the most."""
    counts = [
        effort.images if column == IMAGES_SEEN else effort.steps
        for record in records
        for effort in (effort_of(record) or {}).values()
    ]
    if not counts:
        return None
    fewest, most = min(counts), max(counts)
    return Number(fewest, n=len(records)) if fewest == most else f"{fewest}–{most}"


class CostColumns:
    """Cells, caption and notes of the costs of some records.

    Latencies are shown at the smallest batch size, and only if all are of one machine; those of other timing sessions
    are marked and not ranked. Ratios of latencies are shown if they are to a reference method, or all to the same one.

    Args:
        groups: The rows of the table.
        columns: `PAPER` or `WIDE`.
    """

    def __init__(self, groups: Sequence[Group], columns: Sequence[Column]) -> None:
        self.records = records = [record for group in groups for record in group.records]
        self.columns = columns if some_frozen(records) else [column for column in columns if column != TRAINABLE]
        self.comparable = one_machine(records)
        self.batch_size = min((one.batch_size for record in records for one in record.latency), default=None)
        # Ratios to different methods do not compare: only those to a reference, else all if they are to one method.
        against = {one.paired.reference for record in records for one in record.latency if one.paired}
        references = against & {record.run_id for record in records if record.method.is_reference}
        self._references = references or (against if len(against) == 1 else set())
        # By identity: groups hold records, which have no hash.
        others = other_session([self._latencies(group.records) for group in groups])
        self._apart = {id(group) for group, other in zip(groups, others, strict=True) if other}

    def cells(self, group: Group) -> dict[str, Cell]:
        """Return the cells of a row."""
        cells: dict[str, Cell] = {}
        latencies = self._latencies(group.records)
        for column in self.columns:
            if column in COST_OF:
                cells[column.key] = pooled(cost(record, COST_OF[column]) for record in group.records)
            elif column in (IMAGES_SEEN, STEPS):
                cells[column.key] = _span(group.records, column)
            elif column == RATIO:
                pairs = [latency.paired for latency in latencies]
                cells[column.key] = pooled(pair.ratio for pair in pairs if pair and pair.reference in self._references)
            else:
                number = pooled(time(latency, TIME_OF[column]) for latency in latencies)
                if number is not None and id(group) in self._apart:
                    number = replace(number, sign=SESSION, ranked=False)
                cells[column.key] = number
        return cells

    def caption(self) -> str | None:
        """Return the conditions of the latencies in words; None where none is shown."""
        facts = self.facts()
        if facts["latency_machine"] is None:
            return None
        return f"latency at batch size {facts['latency_batch_size']} on {facts['latency_machine']}"

    def facts(self) -> dict[str, Any]:
        """Return the same for programs."""
        timed = next((record for record in self.records if self._latencies([record])), None)
        return {
            "latency_batch_size": self.batch_size if timed else None,
            "latency_machine": machine(timed) if timed else None,
        }

    def note(self, group: Group, shown: Sequence[Column], notes: Notes) -> None:
        """Note why values of a row are missing, or not to be trusted.

        Args:
            group: The row.
            shown: Columns of the table.
            notes: Collects the notes.
        """
        # 1. Empty cells. The costs that every table has need no excuse unless the record gives a reason.
        for column, probe in {MACS: "macs", LATENCY: "latency", ARTIFACT: "storage"}.items():
            reason = next((record.unmeasured[probe] for record in group.records if probe in record.unmeasured), None)
            lacks = column in shown and self.cells(group)[column.key] is None
            if lacks and (reason or column not in ALWAYS):
                notes.add(column.title, reason or "not measured", group.name)
        if TRAINABLE in shown and self.cells(group)[TRAINABLE.key] is None:
            found = [record.parameters for record in group.records if record.parameters]
            reason = next((parameters.reason for parameters in found if parameters.reason), None)
            why = reason or ("the record is older than this count" if found else "not measured")
            notes.add(TRAINABLE.title, why, group.name)
        # 2. Values that are there but are no numbers, from records of other programs.
        for column, name in COST_OF.items():
            for record in group.records:
                if column in shown and (reason := not_finite(record, name)):
                    notes.add(column.title, reason, group.name)
        # 3. Latencies: left out altogether, or measured on a busy machine.
        if not self.comparable:
            for one in notes.labels:
                notes.add("", "latencies were measured on several machines and are left out", one)
        elif LATENCY in shown:
            for record in group.records:
                for subject, reason in latency_reasons(record):
                    notes.add(subject, reason, group.name)

    def effort_note(self, group: Group, notes: Notes) -> None:
        """Note that a row's training effort is unknown, or that its gain is against a reference that had less."""
        for record in group.records:
            if effort_of(record) is None:
                notes.add("training", "effort unknown", group.name)
            elif record.delta_m is not None and record.delta_m.effort == "unknown":
                notes.add("Δm", "effort of the reference unknown", group.name)

    def session_notes(self) -> list[str]:
        """Return the note of latencies of other timing sessions, if there are such."""
        return [SESSION_NOTE] if self._apart else []

    def _latencies(self, records: Sequence[Record]) -> list[Latency]:
        """Return the latencies that the table shows of some records."""
        found = [latency for record in records for latency in record.latency]
        return [latency for latency in found if self.comparable and latency.batch_size == self.batch_size]
