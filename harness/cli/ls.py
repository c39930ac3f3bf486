"""``harness ls``."""

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.places import RESULTS
from harness.report.cells import DASH
from harness.report.text import printable, to_json

Row = dict[str, object]

_MANY_ROWS = 500
"""Rows from which on a list is never wrapped: wrapping takes 2 ms per row."""

# The functions import what they list: `harness ls results` needs neither the encoders nor the plug-ins, whose imports
# take seconds.


def methods() -> list[Row]:
    """Return one row per method."""
    from harness import registry

    known = {name: registry.described("methods", name) for name in registry.names("methods")}
    return [{"name": name, "summary": of("summary"), "paper": of("paper")} for name, of in known.items()]


def datasets() -> list[Row]:
    """Return one row per data set."""
    from harness import registry

    known = {name: registry.described("datasets", name) for name in registry.names("datasets")}
    return [
        {
            "name": name,
            "tasks": ", ".join(spec.name for spec in of("tasks")),
            "synthetic": of("synthetic"),
            "title": of("card").title,
        }
        for name, of in known.items()
    ]


def tasks() -> list[Row]:
    """Return one row per task."""
    from harness.tasks import TASK_FACTS

    return [
        {
            "name": name,
            "metric": facts.headline_title,
            "better": "higher" if facts.higher_is_better else "lower",
            "loss_weight": facts.weight,
        }
        for name, facts in TASK_FACTS.items()
    ]


def backbones() -> list[Row]:
    """Return one row per encoder; what a family does not have is null."""
    from harness.backbones import NAMES, facts

    columns = ("family", "channels", "stride", "patch", "width", "depth", "heads", "stem", "pretrained")
    rows: list[Row] = []
    for name in NAMES:
        known = facts(name)
        if "stem" in known:
            known["stem"] = "convolutions" if known["stem"] else "patches"
        rows.append({"name": name} | {column: known.get(column) for column in columns})
    return rows


def probes() -> list[Row]:
    """Return one row per probe, in the order in which they run."""
    from harness.probes.catalog import known

    return [{"name": name, "measures": text} for name, text in known().items()]


def protocols() -> list[Row]:
    """Return one row per profile of evaluation conventions."""
    from harness.protocol import PROFILES

    return [
        {"name": name, "differs_from_invpt_in": ", ".join(f"{key}={value}" for key, value in options.items()) or None}
        for name, options in PROFILES.items()
    ]


def results(folder: Path) -> list[Row]:
    """Return one row per record below a folder; values unrounded, in the units of the records."""
    from harness.records import headlines
    from harness.records.load import find_stored
    from harness.run.status import statuses

    states = {one.run_id: one for one in statuses(folder)} if folder.is_dir() else {}
    rows: list[Row] = []
    for stored in find_stored(folder):
        record, state = stored.record, states.get(stored.path.parent.relative_to(folder).as_posix())
        rows.append(
            {
                "run_id": record.run_id,
                "status": state.state if state and state.state in ("running", "stale") else record.status,
                "stage": state.doing if state else None,
                "age_seconds": (datetime.now(UTC) - record.updated_at).total_seconds(),
                **{task: metric.value for task, metric in headlines(record).items()},
                "delta_m_percent": record.delta_m.value if record.delta_m else None,
                "parameters": record.parameters.total if record.parameters else None,
                "units": {task: metric.unit for task, metric in headlines(record).items()},
            }
        )
    return rows


def rounded(rows: list[Row]) -> list[Row]:
    """Return rows of `results` as tables show their values: percent, metres, degrees, millions, ages in words."""
    from harness.records import units
    from harness.report.text import duration

    shown: list[Row] = []
    for row in rows:
        cells: Row = {}
        known: Any = row["units"]
        for key, value in row.items():
            if key == "units":
                continue
            if key in known and isinstance(value, float):
                unit = units.METRICS[known[key]]
                cells[key] = f"{value * unit.factor:.{unit.decimals}f}"
            elif key == "delta_m_percent":
                cells["Δm %"] = f"{value:+.2f}" if isinstance(value, float) else None
            elif key == "parameters":
                cells["params M"] = f"{value * units.MEGA:.2f}" if isinstance(value, int) else None
            elif key == "age_seconds":
                cells["age"] = duration(value) if isinstance(value, float) else None
            else:
                cells[key] = value
        shown.append(cells)
    return shown


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "datasets": datasets,
    "tasks": tasks,
    "backbones": backbones,
    "probes": probes,
    "protocols": protocols,
}


@click.command()
@click.argument("kind", type=click.Choice([*_KINDS, "results"]))
@click.argument("folder", type=RESULTS, required=False)
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option("-o", "--output", type=RESULTS, hidden=True)
def ls(kind: str, folder: Path | None, form: str, plugin: tuple[str, ...], output: Path | None) -> None:
    """List what there is of a kind; of results, the records below FOLDER, which is results/measured if not given."""
    folder = folder or output
    if folder is not None and kind != "results":
        raise click.UsageError(f"FOLDER belongs to `harness ls results`; {kind} lie in none")
    if plugin:
        from harness import registry

        for source in plugin:
            registry.load_plugin(source)
    if kind == "results":
        folder = folder or Path("results/measured")
        rows = results(folder)
        if not rows and form == "table":
            click.echo(f"harness: no records in {folder}", err=True)
            return
    else:
        rows = _KINDS[kind]()
    if form == "json":
        click.echo(to_json(rows, ascii_only=True))
    else:
        _print(rounded(rows) if kind == "results" else rows)


def _print(rows: list[Row]) -> None:
    """Print rows in columns; names are shown as they are, and never as markup or as terminal escapes."""

    def shown(value: object) -> str:
        missing = value is None or (isinstance(value, float) and not math.isfinite(value))
        return DASH if missing else printable(value)

    # Plain lines where they fit the terminal, for they are printed at once; else rich wraps the cells.
    console = Console(width=None if sys.stdout.isatty() else 200)
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [list(map(printable, names)), *([shown(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= console.width or len(rows) > _MANY_ROWS:
        padded = [
            "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        console.print(Text(padded[0], style="bold"), soft_wrap=True)
        click.echo("".join(f"{line}\n" for line in padded[1:]), nl=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in lines[0]:
        table.add_column(Text(name))
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)
