"""``harness status``."""

import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.records.store import fetched, is_url
from harness.report.cells import DASH
from harness.report.text import duration, printable, to_json
from harness.run.status import Status, statuses

_COLOURS = {"running": "green", "stale": "yellow", "failed": "red", "done": "dim", "queued": "cyan"}

_EVERY = 2.0
"""Seconds between two looks with ``--watch``."""


@click.command()
@click.argument("results", default="results/measured")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(results: str, watch: bool, form: str) -> None:
    """Show the state of every run below a results folder, from its files alone.

    Running ones come with the time left of their training; a run is stale when its process is gone, or silent.
    """
    if form == "json":
        click.echo(to_json([asdict(one) for one in _found(results)], ascii_only=True))
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    if not watch:
        console.print(_table(_found(results)))
        return
    with Live(_table(_found(results)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(_EVERY)
            live.update(_table(_found(results)), refresh=True)


def _found(results: str) -> list[Status]:
    """Return the states of the runs in a folder, or of those in a store, which is read again."""
    if not is_url(results):
        return statuses(Path(results))
    with fetched(results) as folder:
        return statuses(folder)


def _table(found: list[Status]) -> Table:
    counts = Counter(one.state for one in found)
    title = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no runs"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("run", "state", "at", "step", "images/s", "left", "seen", "host", "note"):
        table.add_column(name)
    for one in found:
        step = DASH if one.total is None else f"{one.done}/{one.total}"
        rate = DASH if one.rate is None else f"{one.rate:.3g}"
        seen = DASH if one.age is None else f"{duration(one.age)} ago"
        texts = [
            one.doing or DASH,
            step,
            rate,
            DASH if one.left is None else duration(one.left),
            seen,
            one.host or DASH,
            one.note or "",
        ]
        state = Text(one.state, style=_COLOURS[one.state])
        table.add_row(Text(printable(one.run_id), overflow="fold"), state, *(Text(printable(text)) for text in texts))
    return table
