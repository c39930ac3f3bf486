"""Tally of the clips of one kind of motion: metrics, errors against dense runs, consistency, MACs."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.records.metric import Metric, Unit
from harness.records.stream import KindScores, Streaming, frame_macs
from harness.stream.off_dense import UNITS
from harness.tasks.base import Meter

_IN_UNITS: dict[str, Unit] = {"opw": "m", "normals.change": "deg", "pulse": "ratio", "drift": "ratio"}
"""Unit of a metric of consistency by a part of its name; the others are fractions."""


@dataclass
class Tally:
    """Sums over the clips of one kind of motion.

    Attributes:
        meters: Task to its meter on labelled frames.
        live: Task to its meter of the outputs in force at the time of each frame; empty where no rate is known.
        spoiled: Task to the labelled frames on which its prediction is not finite.
        errors: Task to its error against dense runs, by frame.
        values: Metric of consistency to its value by clip.
        macs: Part to MACs, by frame.
        full: Whether the frame was computed in full.
        lags: Age in frames of the output in force, by frame; None before the first output.
        dense: Part to the MACs of a frame with nothing skipped.
        clips: Their number.
    """

    meters: dict[str, Meter]
    live: dict[str, Meter] = field(default_factory=dict)
    spoiled: Counter[str] = field(default_factory=Counter)
    errors: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    macs: list[dict[str, int]] = field(default_factory=list)
    full: list[bool] = field(default_factory=list)
    lags: list[int | None] = field(default_factory=list)
    dense: dict[str, int] = field(default_factory=dict)
    clips: int = 0

    def add(self, other: "Tally") -> None:
        """Add the sums of another tally."""
        for own, theirs in ((self.meters, other.meters), (self.live, other.live)):
            for task, meter in theirs.items():
                own[task].merge(meter)
        for mine, found in ((self.errors, other.errors), (self.values, other.values)):
            for key, values in found.items():
                mine[key] += values
        self.spoiled += other.spoiled
        self.macs += other.macs
        self.full += other.full
        self.lags += other.lags
        self.dense = self.dense or other.dense
        self.clips += other.clips

    def scores(self, fps: float | None) -> KindScores:
        """Return what a record has of them.

        Args:
            fps: Rate at which the frames came for the outputs in force; None where there are none.
        """
        return KindScores(
            clips=self.clips,
            frames=len(self.macs),
            metrics=self._computed(self.meters),
            off_dense={task: off_dense_metric(task, found) for task, found in self.errors.items()},
            consistency={name: _mean_over_clips(name, found) for name, found in self.values.items()},
            macs=frame_macs(self.macs, self.full, self.dense, counted=True) if self.macs else None,
            streaming=self._streaming(fps) if fps and self.lags else None,
        )

    def _streaming(self, fps: float) -> Streaming:
        known = [lag for lag in self.lags if lag is not None]
        return Streaming(
            fps=fps,
            misses=len(self.lags) - len(known),
            lag=float(np.mean(known)) if known else None,
            metrics=self._computed(self.live),
        )

    def _computed(self, meters: Mapping[str, Meter]) -> dict[str, dict[str, Metric]]:
        """Return the metrics of all tasks; those of a task are null where one of its predictions is not finite."""
        found = {task: metrics for task, meter in meters.items() if (metrics := meter.compute())}
        for task, count in self.spoiled.items():
            nothing = {"value": None, "reason": f"predictions of {count} frames are not finite (NaN or infinite)"}
            found[task] = {name: metric.model_copy(update=nothing) for name, metric in found[task].items()}
        return found


def off_dense_metric(task: str, errors: list[float]) -> Metric:
    """Return the mean error of a task against dense runs as a metric."""
    unit = UNITS.get(task, "fraction")
    name = f"{task}.off-dense@mean"
    return Metric.of(float(np.mean(errors)), unit=unit, higher_is_better=False, n=len(errors), protocol=name)


def _mean_over_clips(name: str, values: list[float]) -> Metric:
    """Return the mean over the clips that have a value; the unit follows from the name."""
    found = [value for value in values if math.isfinite(value)]
    unit: Unit = next((unit for part, unit in _IN_UNITS.items() if part in name), "fraction")
    value = float(np.mean(found)) if found else math.nan
    return Metric.of(value, unit=unit, higher_is_better=".vc" in name or ".tc" in name, n=len(found), protocol=name)
