"""``harness table``."""

import sys
from pathlib import Path
from typing import get_args

import click

from harness.cli.completion import complete
from harness.cli.places import RESULTS
from harness.report.cells import Style
from harness.report.formats import FORMATS


@click.command()
@click.argument("results", nargs=-1, type=RESULTS)
@click.option(
    "--style",
    type=click.Choice(get_args(Style)),
    default="paper",
    show_default=True,
    help="The papers' columns; with a table of the densities per task; or all metrics and costs.",
)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="[default: drawn on a terminal, Markdown elsewhere]",
)
@click.option("--reference", metavar="RUN_ID|METHOD", help="Row that Δm is against.  [default: the single-task row]")
@click.option("--published", is_flag=True, help="Add tables of what papers and repositories report.")
@click.option("--ci", is_flag=True, help="Add 95 % intervals over images, and mark what is not worse for certain.")
@click.option("-d", "--dataset", multiple=True, shell_complete=complete("datasets"), help="Only of it; repeatable.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write; - for standard output.  [default: the screen]",
)
def table(
    results: tuple[Path, ...],
    style: Style,
    form: str | None,
    reference: str | None,
    published: bool,
    ci: bool,
    dataset: tuple[str, ...],
    output: Path | None,
) -> None:
    """Print RESULTS, folders or record files, as tables in the papers' format.

    There is one table for each data set, protocol, input size, budget and precision; what is measured and what is
    reported never share one. Streams of clips have tables of their own; --style wide gives each kind of motion one.
    LaTeX needs the packages booktabs and graphicx.
    """
    from harness.cli.outcome import write_output
    from harness.errors import UsageError, unknown
    from harness.records.literature import published_records
    from harness.records.load import read_stored
    from harness.records.reference import with_gains
    from harness.records.stream import sorted_paths
    from harness.report.streams import build_stream_tables
    from harness.report.table import build_tables
    from harness.report.text import printable

    if not results and not published:
        raise UsageError("harness table: give a results folder, or --published for what papers report")
    stills, streams = sorted_paths(results)
    stored = read_stored(stills)
    measured = [one.record for one in stored]
    records = [record for record in measured if record.status == "complete"]
    states = [(record.run_id, record.status) for record in measured]
    for run_id, status in [*states, *((stream.run_id, stream.status) for stream in streams)]:
        if status != "complete":
            click.echo(f"harness: {printable(run_id)} is {status} and left out", err=True)
    if measured and not records:
        raise UsageError("none of the records is complete; repeat their commands to finish them")

    # Gains are taken before data sets are chosen, so that references of all of them are known.
    records = with_gains([*records, *(published_records() if published else [])], reference)
    known = dict.fromkeys([*(record.dataset.name for record in records), *(stream.source for stream in streams)])
    for name in dataset:
        if name not in known:
            raise UsageError(unknown("data set among the records:", name, known))
    shown = [record for record in records if not dataset or record.dataset.name in dataset]
    intervals = None
    if ci:
        from harness.report.intervals import Intervals

        intervals = Intervals(stored, every=style == "wide")
    tables = build_tables(shown, style, intervals)
    wanted = [record for record in streams if not dataset or record.source in dataset]
    tables += build_stream_tables(wanted, every=style == "wide")
    if form is None and output is None and sys.stdout.isatty():
        from rich.console import Console

        for one in tables:
            one.print(Console())
        return
    text = FORMATS[form or "md"](tables)
    write_output("-o", output, text)
