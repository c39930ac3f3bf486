"""The figures of a record that can be drawn, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.errors import UsageError, unknown
from harness.records import Record, headlines, units
from harness.report.pareto import Axis
from harness.tasks import TASKS
from harness.tasks.base import Task


@dataclass(frozen=True)
class Quantity:
    """One figure of a record.

    Attributes:
        title: Name with unit.
        higher_is_better: The better direction.
        pick: Returns the figure of a record at a batch size in the unit of the title; None where it is not known.
        timed: Whether it depends on the machine and on the batch size.
        probe: The probe that measures it; None for what is scored.
    """

    title: str
    higher_is_better: bool
    pick: Callable[[Record, int | None], float | None]
    timed: bool = False
    probe: str | None = None

    def axis(self, batch_size: int | None) -> Axis:
        """Return the axis that shows it."""
        place = f" at batch size {batch_size}" if self.timed and batch_size is not None else ""
        return Axis(f"{self.title}{place}", self.higher_is_better)


def _latency(record: Record, batch_size: int | None) -> float | None:
    return next((latency.p50_ms for latency in record.latency if latency.batch_size == batch_size), None)


def _energy(record: Record, batch_size: int | None) -> float | None:
    energy = record.energy
    return energy.joules_per_image if energy and energy.batch_size in (batch_size, None) else None


def _macs(record: Record, batch_size: int | None) -> float | None:
    return record.macs.executed.mean * units.GIGA if record.macs else None


def _parameters(record: Record, batch_size: int | None) -> float | None:
    return record.parameters.total * units.MEGA if record.parameters else None


def _artifact(record: Record, batch_size: int | None) -> float | None:
    return record.storage.artifact_bytes * units.MEGA if record.storage else None


def _gain(record: Record, batch_size: int | None) -> float | None:
    return record.delta_m.value if record.delta_m else None


def _task(name: str, task: type[Task]) -> Quantity:
    def pick(record: Record, batch_size: int | None) -> float | None:
        figure = headlines(record).get(name)
        if figure is None or figure.value is None or other_metric(record, name):
            return None
        return figure.value * units.METRICS[figure.unit].factor

    unit = {"depth": "m", "normals": "°"}.get(name, "%")
    return Quantity(f"{task.title} {task.headline_title}, {unit}", task.higher_is_better, pick)


QUANTITIES: Mapping[str, Quantity] = {
    "latency_ms": Quantity("Latency, ms", False, _latency, timed=True, probe="latency"),
    "energy_j": Quantity("Energy, J per image", False, _energy, timed=True, probe="energy"),
    "macs": Quantity("Executed MACs, G", False, _macs, probe="macs"),
    "parameters": Quantity("Parameters, M", False, _parameters),
    "artifact_bytes": Quantity("Artifact, MB", False, _artifact, probe="storage"),
    "delta_m": Quantity("Δm, %", True, _gain),
    **{name: _task(name, task) for name, task in TASKS.items()},
}
"""Name on the command line to the figure."""


def quantity(name: str) -> Quantity:
    """Return the figure called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in QUANTITIES:
        raise UsageError(unknown("figure", name, QUANTITIES))
    return QUANTITIES[name]


def other_metric(record: Record, name: str) -> bool:
    """Return whether a paper reports a task by another metric than the protocol's headline: saliency by its mIoU."""
    figures = record.metrics.get(name, {})
    return record.source == "reported" and name == "saliency" and "maxf" not in figures


def absence(record: Record, name: str) -> str:
    """Return why a record does not have the figure called ``name``."""
    figure = headlines(record).get(name)
    reasons = [
        "reported by another metric" if figure and other_metric(record, name) else None,
        figure.reason if figure else None,
        record.delta_m.reason if record.delta_m and name == "delta_m" else None,
        record.unmeasured.get(QUANTITIES[name].probe or ""),
    ]
    return f"no {name} ({next(filter(None, reasons), 'not measured')})"
