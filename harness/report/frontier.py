"""Frontier of a results folder: the multi-task gain against MACs and milliseconds, with what calibrations walked."""

import io
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.files import write_atomically
from harness.records import Record, conditions, find_records
from harness.records.calibration import read_walk
from harness.records.units import GIGA
from harness.report.pareto import Panel, draw_panels
from harness.report.plot import METADATA, ON_WHITE, scatter
from harness.report.values import quantity

FRONTIER = "frontier.png"
"""Name of the picture in the folder of a data set."""


def write_frontier(first: Record, folder: Path) -> bool:
    """Draw all measured records of a results folder that share the conditions of ``first``; return whether any were.

    Args:
        first: Gives the data set and the conditions.
        folder: The results folder; the picture goes to the data set's folder in it.
    """
    place = folder / first.dataset.name
    records = [record for record in find_records(place) if conditions(record) == conditions(first)]
    picture = draw_frontier(records, folder)
    if picture is not None:
        write_atomically(place / FRONTIER, picture)
    return picture is not None


def draw_frontier(records: Sequence[Record], folder: Path) -> bytes | None:
    """Return a PNG of the gain against executed MACs, and beside it against milliseconds where they are known.

    Args:
        records: Of one set of conditions.
        folder: Results folder that they lie in.

    Returns:
        The picture; None where fewer than two configurations have a gain and MACs.
    """
    panels = []
    for x in ("macs", "latency_ms"):
        try:
            found = scatter(records, x, "delta_m")
        except UsageError:  # no record has both, or latencies are of several machines
            continue
        across, up = (quantity(name).axis(found.batch_size) for name in (x, "delta_m"))
        walks = [path for record in records for path in walked_paths(record, folder)] if x == "macs" else []
        title = "\n".join([found.title, *(["thin: settings on held-out training images"] if walks else [])])
        panels.append(Panel(found.points, across, up, title, walks))
    if not panels or len(panels[0].points) < 2:
        return None
    buffer = io.BytesIO()
    figure = draw_panels(panels, palette=ON_WHITE)
    figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata=METADATA[".png"])
    return buffer.getvalue()


def walked_paths(record: Record, folder: Path) -> list[list[tuple[float, float]]]:
    """Return, per task whose calibration is known, the places (G MACs, Δm) of its settings, the run's own among them.

    Another setting of one task adds the difference of its MACs to the run's, and takes off its loss over the number of
    tasks.

    Args:
        record: A run.
        folder: Results folder that it lies in.
    """
    if record.macs is None or record.delta_m is None or record.delta_m.value is None:
        return []
    paths = []
    walk = read_walk(folder / record.run_id)
    for task in dict.fromkeys(step.task for step in walk):
        steps = [step for step in walk if step.task == task and step.loss is not None]
        own = next((step for step in steps if step.chosen), None)
        if own is not None:
            paths.append(
                [
                    (
                        (record.macs.executed.mean + step.macs - own.macs) * GIGA,
                        record.delta_m.value - ((step.loss or 0.0) - (own.loss or 0.0)) / len(record.metrics),
                    )
                    for step in steps
                ]
            )
    return paths
