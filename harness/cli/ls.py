"""``harness ls``."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

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

    loaded = [registry.load_method(name) for name in registry.names("methods")]
    return [{"name": cls.name, "summary": cls.summary, "paper": cls.paper} for cls in loaded]


def datasets() -> list[Row]:
    """Return one row per data set."""
    from harness import registry

    loaded = [registry.load_dataset(name) for name in registry.names("datasets")]
    return [
        {
            "name": dataset.name,
            "tasks": ", ".join(spec.name for spec in dataset.tasks),
            "synthetic": dataset.synthetic,
            "title": dataset.card.title,
        }
        for dataset in loaded
    ]


def tasks() -> list[Row]:
    """Return one row per task."""
    from harness.tasks import TASKS

    return [
        {
            "name": name,
            "metric": cls.headline_title,
            "better": "higher" if cls.higher_is_better else "lower",
            "loss_weight": cls.weight,
        }
        for name, cls in TASKS.items()
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


def results(output: Path) -> list[Row]:
    """Return one row per record below ``output``; values unrounded, in the units of the records."""
    from harness.records import find_records, headlines

    return [
        {
            "run_id": record.run_id,
            "status": record.status,
            **{task: metric.value for task, metric in headlines(record).items()},
            "delta_m_percent": record.delta_m.value if record.delta_m else None,
            "parameters": record.parameters.total if record.parameters else None,
        }
        for record in find_records(output)
    ]


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "datasets": datasets,
    "tasks": tasks,
    "backbones": backbones,
    "probes": probes,
}


@click.command()
@click.argument("kind", type=click.Choice([*_KINDS, "results"]))
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option(
    "-o",
    "--output",
    type=RESULTS,
    default=Path("results/measured"),
    help="Results folder.",
)
def ls(kind: str, form: str, plugin: tuple[str, ...], output: Path) -> None:
    """List what there is of a kind."""
    if plugin:
        from harness import registry

        for source in plugin:
            registry.load_plugin(source)
    rows = results(output) if kind == "results" else _KINDS[kind]()
    if form == "json":
        click.echo(to_json(rows, ascii_only=True))
    else:
        _print(rows)


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
