"""Scatter plots of two values of records: one point per configuration, one picture per set of conditions."""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from harness.errors import UsageError, counted
from harness.files import write_atomically, writing_to
from harness.records import Record, conditions
from harness.records.groups import Group, groups_of, overrides
from harness.records.machine import latency_reasons, machine
from harness.report.cells import Label, pooled, size
from harness.report.columns import SESSION, other_session
from harness.report.grid import Notes
from harness.report.pareto import Palette, Point, draw_pareto, to_svg
from harness.report.reported import OTHER_REFERENCE, other_documents
from harness.report.values import absence, quantity

_SAID = 8
"""Records at most that an error names with their reasons."""

FORMATS = (".svg", ".png", ".pdf")

ON_WHITE = Palette(text="#374151")
METADATA: Mapping[str, Mapping[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Scatter:
    """Points to draw, with their conditions.

    Attributes:
        points: One per configuration; several seeds are their mean, with the standard deviation as error bar.
        title: The conditions that they were measured under.
        x: Name of the horizontal value.
        y: Name of the vertical value.
        batch_size: Of latency and energy; None if neither is shown.
        notes: Records that are left out, and latencies that are not to be trusted.
    """

    points: Sequence[Point]
    title: str
    x: str
    y: str
    batch_size: int | None
    notes: Sequence[str]

    def draw(self, palette: Palette | None = None) -> Figure:
        """Return the picture."""
        x, y = (quantity(name).axis(self.batch_size) for name in (self.x, self.y))
        return draw_pareto(self.points, x, y, title=self.title, palette=palette)

    def render(self, suffix: str) -> bytes:
        """Return the picture in one of `FORMATS`, the same bytes for the same records."""
        if suffix == ".svg":
            return to_svg(self.draw()).encode()
        buffer = io.BytesIO()
        with matplotlib.style.context("default", after_reset=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the names are the user's
            picture = self.draw(ON_WHITE)
            # No program, no date: equal records give equal bytes.
            picture.savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=METADATA[suffix])
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Write the picture.

        Raises:
            UsageError: the file's name ends in none of `FORMATS`, or it cannot be written.
        """
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(f"-o {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        with writing_to(f"-o {path}"):
            write_atomically(path, self.render(suffix))


def scatter(records: Sequence[Record], x: str, y: str, label: Label = "method") -> Scatter:
    """Return the points of records in the plane of two values.

    Measured records must share their conditions, and with a latency or an energy the machine too. Latencies of another
    timing session than most are open points and never on the front. Reported records of the same data set are shown
    likewise, marked; their latencies and energies are left out, for they are of other machines.

    Args:
        records: Any records.
        x: Name of a value, a key of `harness.report.values.QUANTITIES`.
        y: Another.
        label: Text next to the points.

    Raises:
        UsageError: an unknown name, no record that has both values, or several sets of conditions.
    """
    # What can be drawn: complete records with both values, at the smallest batch size that was timed.
    timed = any(quantity(name).timed for name in (x, y))
    sizes = [latency.batch_size for record in records for latency in record.latency]
    sizes += [record.energy.batch_size for record in records if record.energy and record.energy.batch_size]
    batch_size = min(sizes, default=None) if timed else None
    shown, notes = [], []
    for record in records:
        missing = [absence(record, name) for name in (x, y) if quantity(name).pick(record, batch_size) is None]
        if record.status != "complete":
            missing = [f"the run is {record.status}"]
        elif record.reported and timed:
            missing = ["reported, on another machine"]
        elif record.reported and record.reported.differs:
            missing = [f"known to differ from other reports: {record.reported.differs}"]
        if missing:
            notes.append(f"{record.run_id} is left out: {'; '.join(missing)}")
        else:
            shown.append(record)
    if not shown:
        more = f"; and {counted(len(notes) - _SAID, 'more record')}" if len(notes) > _SAID else ""
        raise UsageError(f"no record has both {x} and {y}" + (f": {'; '.join(notes[:_SAID])}{more}" if notes else ""))
    _check_conditions(shown, timed)
    if timed:
        doubts = Notes([record.method.name for record in shown])
        for record in shown:
            for subject, reason in latency_reasons(record):
                doubts.add(subject, reason, record.method.name)
        notes += doubts.lines()

    # One point per configuration, or per record where runs are labelled.
    groups = groups_of(shown)
    if label == "run":
        groups = [Group(record.run_id, (record,), record.run_id) for record in shown]
    apart = [False] * len(groups)
    if "latency_ms" in (x, y):
        times = [[one for record in group.records for one in record.latency] for group in groups]
        apart = other_session([[one for one in found if one.batch_size == batch_size] for found in times])
    others = other_documents(shown, records) if "delta_m" in (x, y) else {}
    points, signs = [], set()
    for name, group, other in zip(_labels(groups, label), groups, apart, strict=True):
        across, up = (pooled(quantity(one).pick(record, batch_size) for record in group.records) for one in (x, y))
        assert across is not None
        assert up is not None
        reported = group.first.source == "reported"
        sign = ["†"] if reported else []
        sign += [OTHER_REFERENCE] if group.first.run_id in others else []
        sign += [SESSION] if other else []
        signs |= set(sign)
        text = f"{name} {''.join(sign)}" if sign else name
        points.append(Point(text, across.value, up.value, across.std or 0.0, up.std or 0.0, reported, other))
    return Scatter(points, _title(shown, timed, signs), x, y, batch_size, list(dict.fromkeys(notes)))


def _check_conditions(records: Sequence[Record], timed: bool) -> None:
    """Raise an error unless all measured records were made under the same conditions, on the same data as reported."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key: tuple[object, ...] = (record.dataset.name,)
        if record.source == "measured":
            execution = [one.execution for one in record.latency[:1]]
            where = (record.system_id, machine(record), *execution) if timed else ()
            key = (*conditions(record), *where)
        groups.setdefault(key, []).append(record)
    measured = [group for group in groups.values() if group[0].source == "measured"]
    datasets = dict.fromkeys(record.dataset.name for record in records)
    if len(measured) > 1 or len(datasets) > 1:
        several = measured if len(measured) > 1 else list(groups.values())
        named = "; ".join(f"{_conditions(group[0], timed)} ({group[0].run_id})" for group in several)
        raise UsageError(
            f"the records are of {len(several)} sets of conditions, which one picture never mixes: {named}. "
            f"Choose one by -d DATASET, or by giving the folders of its runs"
        )


def _labels(groups: Sequence[Group], label: Label) -> list[str]:
    """Return the text next to each configuration, with what it overrides; several encoders of a method are named."""
    names = []
    for group in groups:
        method = group.first.method
        given = [f"{key}={value}" for key, value in overrides(group.first).items()]
        if label == "backbone":
            names.append(" ".join([method.backbone or method.name, *given]))
        elif label == "run":
            names.append(" ".join([group.label, *given]))
        else:
            encoders = {other.first.method.backbone for other in groups if other.first.method.name == method.name}
            named = [method.backbone] if len(encoders) > 1 and method.backbone else []
            names.append(" ".join([method.name, *named, *group.variant]))
    return names


def _title(records: Sequence[Record], timed: bool, signs: set[str]) -> str:
    """Return the title of a picture: the conditions, and the meaning of error bars and signs."""
    measured = [record for record in records if record.source == "measured"]
    lines = [_conditions((measured or records)[0], timed)]
    if len({record.seed for record in measured}) > 1:
        lines.append("mean and sample deviation over seeds")
    if len(measured) < len(records):
        lines.append("† reported in the literature, under the conditions of its source; never on the front")
    if OTHER_REFERENCE in signs:
        lines.append(f"{OTHER_REFERENCE} Δm against a single-task row that another document prints")
    if SESSION in signs:
        lines.append(f"{SESSION} timed in another session than the others; never on the front")
    return "\n".join(textwrap.fill(line, 84) for line in lines)


def _conditions(record: Record, timed: bool) -> str:
    """Return the conditions of a record in words."""
    dataset = record.dataset
    synthetic = " (synthetic, rendered scenes)" if dataset.synthetic else ""
    if record.source == "reported":
        return f"{dataset.name}{synthetic}, reported"
    parts = [f"{dataset.name}{synthetic}"]
    if record.costs_only:
        parts.append("costs alone, on random images")
    else:
        whole = dataset.n_expected in (None, dataset.n_evaluated)
        count = f"{dataset.n_evaluated}" if whole else f"{dataset.n_evaluated} of {dataset.n_expected}"
        parts += [f"{count} {dataset.split} images", f"protocol {record.protocol_name}"]
    parts += [f"input {size(record)}", *([f"budget {record.budget}"] if record.budget else [])]
    parts += [record.precision] if record.precision else []
    return ", ".join([*parts, *([machine(record)] if timed else [])])
