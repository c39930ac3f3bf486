"""Training curves of a run, drawn from its events."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.events import EVENTS_NAME, read_events

CURVES_NAME = "curves.png"

_COLUMNS = 3
_MOST_STAGES = 12
"""Stages drawn: of more, those after them are left out, so that the picture stays readable."""

Curve = dict[int, float]


def read_curves(folder: Path) -> dict[str, dict[str, Curve]]:
    """Return stage to loss to iteration to value, from the events of a run.

    Where a run was resumed, steps were made twice; the later ones count, for it is they that led to the artifact.
    """
    stages: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(dict))
    for event in read_events(folder / EVENTS_NAME):
        if event["event"] == "train" and isinstance(event.get("losses"), dict):
            for name, value in {"total": event.get("loss"), **event["losses"]}.items():
                if isinstance(value, int | float):
                    stages[str(event.get("stage"))][name][int(event["iteration"])] = float(value)
    return {stage: dict(curves) for stage, curves in stages.items()}


def write_curves(folder: Path) -> None:
    """Draw the losses of every stage by task and term over the iterations; nothing where no stage was trained."""
    stages = dict(list(read_curves(folder).items())[:_MOST_STAGES])
    if not stages:
        return
    columns = min(_COLUMNS, len(stages))
    rows = -(-len(stages) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (stage, curves) in zip(axes.flat, stages.items(), strict=False):
        for name, curve in curves.items():
            style: dict[str, Any] = {"color": "black", "linewidth": 1.6} if name == "total" else {"linewidth": 1.0}
            iterations = sorted(curve)
            axis.plot(iterations, [curve[one] for one in iterations], label=name, **style)
        if all(value > 0 for curve in curves.values() for value in curve.values()):
            axis.set_yscale("log")
        axis.set_title(stage, fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.set_ylabel("weighted loss", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6)
    for axis in list(axes.flat)[len(stages) :]:
        axis.set_axis_off()
    figure.savefig(folder / CURVES_NAME, dpi=110, metadata={"Software": None})
