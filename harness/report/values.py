"""Values of a record by name: its costs, its gain and its metrics, for tables, plots, pages and programs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError, unknown
from harness.records import Record, headlines, units
from harness.records.costs import Latency
from harness.records.effort import training_macs
from harness.tasks import TASK_FACTS
from harness.tasks.facts import TaskFacts

if TYPE_CHECKING:
    from harness.report.pareto import Axis


@dataclass(frozen=True)
class _Cost:
    probe: str
    of: Callable[[Record], float | None]


_COSTS: Mapping[str, _Cost] = {
    "macs": _Cost("macs", lambda r: r.macs.executed.mean if r.macs else None),
    "macs_dense": _Cost("macs", lambda r: r.macs.dense.mean if r.macs else None),
    "macs_ideal": _Cost("macs", lambda r: r.macs.ideal.mean if r.macs and r.macs.ideal else None),
    "parameters": _Cost("parameters", lambda r: r.parameters.total if r.parameters else None),
    "trainable_parameters": _Cost("parameters", lambda r: r.parameters.trainable if r.parameters else None),
    "artifact_bytes": _Cost("storage", lambda r: r.storage.artifact_bytes if r.storage else None),
    "zipped_bytes": _Cost("storage", lambda r: r.storage.zipped_bytes if r.storage else None),
    "gpu_peak_bytes": _Cost(
        "memory", lambda r: r.memory.inference.allocated_bytes if r.memory and r.memory.inference else None
    ),
    "gpu_training_peak_bytes": _Cost(
        "memory", lambda r: r.memory.training_step.allocated_bytes if r.memory and r.memory.training_step else None
    ),
    "resident_peak_bytes": _Cost(
        "memory", lambda r: r.memory.resident.peak_bytes if r.memory and r.memory.resident else None
    ),
    "joules_per_image": _Cost("energy", lambda r: r.energy.joules_per_image if r.energy else None),
    "training_macs": _Cost("training", training_macs),
}
"""Costs that a record has once, unrounded and in the unit that it stores; null where they were not measured."""

_TIMES: Mapping[str, Callable[[Latency], float | None]] = {
    "latency_p50_ms": lambda latency: latency.p50_ms,
    "latency_p95_ms": lambda latency: latency.p95_ms,
    "images_per_second": lambda latency: latency.images_per_second,
    "floor_multiple": lambda latency: latency.floor.multiple if latency.floor else None,
}
"""Costs that a record has for every batch size."""


def cost(record: Record, name: str) -> float | None:
    """Return a cost by its name; None where it was not measured or is not a finite number."""
    return _finite(_COSTS[name].of(record))


def time(latency: Latency, name: str) -> float | None:
    """Return a value of a latency by its name; None where it is not known."""
    return _finite(_TIMES[name](latency))


def why_no_cost(record: Record, name: str) -> str:
    """Return why a record lacks a cost."""
    return not_finite(record, name) or record.unmeasured.get(_COSTS[name].probe, "not measured")


def not_finite(record: Record, name: str) -> str | None:
    """Return the reason why a cost is left out although the record has it; None for all others."""
    value = _COSTS[name].of(record)
    return None if value is None or math.isfinite(value) else f"the record has {value}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Quantity:
    """A value of a record that can be drawn.

    Attributes:
        title: Name with unit.
        higher_is_better: The better direction.
        pick: Returns the value of a record at a batch size in the unit of the title; None where it is not known.
        timed: Whether it depends on the machine and on the batch size.
        probe: The probe that measures it; None for metrics.
    """

    title: str
    higher_is_better: bool
    pick: Callable[[Record, int | None], float | None]
    timed: bool = False
    probe: str | None = None

    def axis(self, batch_size: int | None) -> "Axis":
        """Return the axis that shows it."""
        from harness.report.pareto import Axis  # with matplotlib

        place = f" at batch size {batch_size}" if self.timed and batch_size is not None else ""
        return Axis(f"{self.title}{place}", self.higher_is_better)


def _of_cost(title: str, name: str, factor: float) -> Quantity:
    def pick(record: Record, batch_size: int | None) -> float | None:
        value = cost(record, name)
        return None if value is None else value * factor

    probe = _COSTS[name].probe
    return Quantity(title, False, pick, probe=None if probe in ("parameters", "training") else probe)


def _of_task(name: str, task: TaskFacts) -> Quantity:
    def pick(record: Record, batch_size: int | None) -> float | None:
        metric = headlines(record).get(name)
        if metric is None or metric.value is None or other_metric(record, name):
            return None
        return metric.value * units.METRICS[metric.unit].factor

    unit = {"depth": "m", "normals": "°"}.get(name, "%")
    return Quantity(f"{task.title} {task.headline_title}, {unit}", task.higher_is_better, pick)


QUANTITIES: Mapping[str, Quantity] = {
    "latency_ms": Quantity(
        "Latency, ms",
        False,
        lambda record, size: next(
            (time(one, "latency_p50_ms") for one in record.latency if one.batch_size == size), None
        ),
        timed=True,
        probe="latency",
    ),
    "energy_j": Quantity(
        "Energy, J per image",
        False,
        lambda record, size: (
            cost(record, "joules_per_image") if record.energy and record.energy.batch_size in (size, None) else None
        ),
        timed=True,
        probe="energy",
    ),
    "macs": _of_cost("Executed MACs, G", "macs", units.GIGA),
    "parameters": _of_cost("Parameters, M", "parameters", units.MEGA),
    "training_macs": _of_cost("Training MACs, T", "training_macs", units.TERA),
    "artifact_bytes": _of_cost("Artifact, MB", "artifact_bytes", units.MEGA),
    "delta_m": Quantity("Δm, %", True, lambda record, _: _finite(record.delta_m.value) if record.delta_m else None),
    **{name: _of_task(name, task) for name, task in TASK_FACTS.items()},
}
"""What can be drawn, by its name on the command line."""


def quantity(name: str) -> Quantity:
    """Return what can be drawn by its name.

    Raises:
        UsageError: there is no such name.
    """
    if name not in QUANTITIES:
        raise UsageError(unknown("value", name, QUANTITIES))
    return QUANTITIES[name]


def other_metric(record: Record, name: str) -> bool:
    """Return whether a paper reports a task by another metric than the headline: saliency by mIoU, normals by RMSE."""
    metrics, headline = record.metrics.get(name, {}), {"saliency": "maxf", "normals": "merr"}.get(name)
    return record.source == "reported" and headline is not None and headline not in metrics


def absence(record: Record, name: str) -> str:
    """Return why a record does not have the value called ``name``."""
    metric = headlines(record).get(name)
    reasons = [
        "reported by another metric" if metric and other_metric(record, name) else None,
        metric.reason if metric else None,
        record.delta_m.reason if record.delta_m and name == "delta_m" else None,
        record.unmeasured.get(QUANTITIES[name].probe or ""),
    ]
    return f"no {name} ({next(filter(None, reasons), 'not measured')})"
