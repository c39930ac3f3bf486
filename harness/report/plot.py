"""Two figures of records against each other: one point per configuration, one picture per set of conditions."""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

import matplotlib.style
from matplotlib.figure import Figure

from harness.errors import UsageError
from harness.files import write_atomically
from harness.records import Record, conditions
from harness.records.groups import Group, groups_of
from harness.records.machine import latency_reasons, machine
from harness.report.cells import size
from harness.report.notes import Notes
from harness.report.pareto import Palette, Point, draw_pareto, to_svg
from harness.report.quantities import absence, quantity

Label = Literal["method", "backbone", "run"]
FORMATS = (".svg", ".png", ".pdf")

_ON_WHITE = Palette(text="#374151")
_METADATA: Mapping[str, Mapping[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Scatter:
    """Points to draw and what is to be known of them.

    Attributes:
        points: One per configuration; several seeds are their mean, with the sample deviation as error bar.
        title: Under which conditions they were measured.
        x: Name of the horizontal figure.
        y: Name of the vertical figure.
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

    def save(self, path: Path) -> None:
        """Write the picture, the same bytes for the same records.

        Raises:
            UsageError: the file's name ends in none of `FORMATS`, or it cannot be written.
        """
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(f"-o {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        try:
            write_atomically(path, to_svg(self.draw()) if suffix == ".svg" else self._bytes(suffix))
        except OSError as error:
            raise UsageError(f"-o {path}: {error.strerror}") from error

    def _bytes(self, suffix: str) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.style.context("default", after_reset=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the names are the user's
            figure = self.draw(_ON_WHITE)
            figure.savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=_METADATA[suffix])
        return buffer.getvalue()


def scatter(records: Sequence[Record], x: str, y: str, label: Label = "method") -> Scatter:
    """Return the points of records in the plane of two figures.

    Measured records must share their conditions, and with a latency or an energy the machine too. Reported ones of the
    same data set stand beside them, marked; their latencies and energies do not, for they are of other machines.

    Args:
        records: Any records.
        x: Name of a figure, a key of `harness.report.quantities.QUANTITIES`.
        y: Another.
        label: What is written beside the points.

    Raises:
        UsageError: an unknown figure, no record that has both, or several sets of conditions.
    """
    timed = [quantity(name).timed for name in (x, y)]
    batch_size = _batch_size(records) if any(timed) else None
    shown, notes = [], []
    for record in records:
        missing = [absence(record, name) for name in (x, y) if quantity(name).pick(record, batch_size) is None]
        if record.status != "complete":
            missing = [f"the run is {record.status}"]
        elif record.reported and any(timed):
            missing = ["reported, on another machine"]
        elif record.reported and record.reported.differs:
            missing = [f"known to differ from other reports: {record.reported.differs}"]
        if missing:
            notes.append(f"{record.run_id} is left out: {'; '.join(missing)}")
        else:
            shown.append(record)
    if not shown:
        raise UsageError(f"no record has both {x} and {y}" + (f": {notes[0]}" if notes else ""))
    shown = _of_one_condition(shown, any(timed))
    if any(timed):
        doubts = Notes([record.method.name for record in shown])
        for record in shown:
            for subject, reason in latency_reasons(record):
                doubts.add(subject, reason, record.method.name)
        notes += doubts.lines()
    points = _points(shown, x, y, batch_size, label)
    return Scatter(points, _title(shown, any(timed)), x, y, batch_size, list(dict.fromkeys(notes)))


def _batch_size(records: Sequence[Record]) -> int | None:
    """Return the smallest batch size that anything was timed at."""
    sizes = [latency.batch_size for record in records for latency in record.latency]
    sizes += [record.energy.batch_size for record in records if record.energy and record.energy.batch_size]
    return min(sizes, default=None)


def _of_one_condition(records: Sequence[Record], timed: bool) -> list[Record]:
    """Return the records if all measured ones were made under the same conditions."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key = (record.dataset.name,) if record.source == "reported" else _key(record, timed)
        groups.setdefault(key, []).append(record)
    measured = [group for group in groups.values() if group[0].source == "measured"]
    datasets = dict.fromkeys(record.dataset.name for record in records)
    if len(measured) > 1 or len(datasets) > 1:
        several = measured if len(measured) > 1 else list(groups.values())
        named = "; ".join(f"{_conditions(group[0], timed)} ({group[0].run_id})" for group in several)
        raise UsageError(
            f"the records are of {len(several)} sets of conditions, which one figure never mixes: {named}. "
            f"Choose one by -d DATASET, or by giving the folders of its runs"
        )
    return list(records)


def _key(record: Record, timed: bool) -> tuple[object, ...]:
    how = [one.execution for one in record.latency[:1]]
    return (*conditions(record), *((record.system_id, machine(record), *how) if timed else ()))


def _points(records: Sequence[Record], x: str, y: str, batch_size: int | None, label: Label) -> list[Point]:
    groups = groups_of(records)
    if label == "run":
        groups = [Group(record.run_id, (record,), record.run_id) for record in records]
    names = _labels(groups, label)
    points = []
    for name, group in zip(names, groups, strict=True):
        reported = group.first.source == "reported"
        (px, dx), (py, dy) = (_mean(group.records, figure, batch_size) for figure in (x, y))
        points.append(Point(f"{name} †" if reported else name, px, py, dx, dy, reported))
    return points


def _mean(group: Sequence[Record], name: str, batch_size: int | None) -> tuple[float, float]:
    """Return mean and sample deviation of a figure; one seed has none."""
    values = [value for record in group if (value := quantity(name).pick(record, batch_size)) is not None]
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def _labels(groups: Sequence[Group], label: Label) -> list[str]:
    """Return the text next to each configuration; several encoders of one method are named."""
    if label == "backbone":
        return [group.first.method.backbone or group.first.method.name for group in groups]
    if label == "run":
        return [group.label for group in groups]
    names = []
    for group in groups:
        method = group.first.method
        encoders = {other.first.method.backbone for other in groups if other.first.method.name == method.name}
        named = [method.backbone] if len(encoders) > 1 and method.backbone else []
        names.append(" ".join([method.name, *named, *group.variant]))
    return names


def _title(records: Sequence[Record], timed: bool) -> str:
    measured = [record for record in records if record.source == "measured"]
    lines = [_conditions((measured or records)[0], timed)]
    if len({record.seed for record in measured}) > 1:
        lines.append("mean and sample deviation over seeds")
    if len(measured) < len(records):
        lines.append("† reported in the literature, under the conditions of its source; never on the front")
    return "\n".join(textwrap.fill(line, 84) for line in lines)


def _conditions(record: Record, timed: bool) -> str:
    """Return the conditions of a record in words."""
    synthetic = " (synthetic, rendered scenes)" if record.dataset.synthetic else ""
    if record.source == "reported":
        return f"{record.dataset.name}{synthetic}, reported"
    facts = [f"{record.dataset.name}{synthetic}"]
    if record.costs_only:
        facts.append("costs alone, on random images")
    else:
        facts += [f"{record.dataset.n_evaluated} {record.dataset.split} images", f"protocol {record.protocol_name}"]
    facts += [f"input {size(record)}", *([f"budget {record.budget}"] if record.budget else [])]
    facts += [record.precision] if record.precision else []
    return ", ".join([*facts, *([machine(record)] if timed else [])])
