"""``harness ls``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
from rich.console import Console
from rich.table import Table

from harness import registry
from harness.backbones import NAMES, facts
from harness.probes.catalog import known
from harness.records import find_records, headlines
from harness.tasks import TASKS

Row = dict[str, object]


def methods() -> list[Row]:
    """Return one row per method."""
    loaded = [registry.load_method(name) for name in registry.names("methods")]
    return [{"name": cls.name, "summary": cls.summary, "paper": cls.paper} for cls in loaded]


def datasets() -> list[Row]:
    """Return one row per data set."""
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
    return [{"name": name, "measures": text} for name, text in known().items()]


def results(output: Path) -> list[Row]:
    """Return one row per record below ``output``; figures unrounded, in the units of the records."""
    return [
        {
            "run_id": record.run_id,
            "status": record.status,
            **{task: figure.value for task, figure in headlines(record).items()},
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
    type=click.Path(path_type=Path),
    default=Path("results/measured"),
    help="Results folder.",
)
def ls(kind: str, form: str, plugin: tuple[str, ...], output: Path) -> None:
    """List what there is of a kind."""
    for source in plugin:
        registry.load_plugin(source)
    rows = results(output) if kind == "results" else _KINDS[kind]()
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
    else:
        _print(rows)


def _print(rows: list[Row]) -> None:
    frame = pd.DataFrame(rows, dtype=object)  # null beside whole numbers would make them fractions
    table = Table(*map(str, frame.columns), box=None, pad_edge=False)
    for row in frame.itertuples(index=False):
        table.add_row(*("–" if value is None else str(value) for value in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
