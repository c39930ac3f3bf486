"""``harness table``."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from harness.cli.completion import complete
from harness.errors import UsageError, unknown
from harness.files import write_atomically
from harness.records import Record, read_results
from harness.records.literature import published_records
from harness.records.reference import with_gains
from harness.report.formats import FORMATS
from harness.report.table import Style, build_tables


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--style",
    type=click.Choice(get_args(Style)),
    default="paper",
    show_default=True,
    help="The papers' columns; what each task has of its own beside them; or all metrics and costs.",
)
@click.option("-f", "--format", "form", type=click.Choice(list(FORMATS)), default="md", show_default=True)
@click.option("--reference", metavar="RUN_ID|METHOD", help="Row that Δm is against.  [default: the single-task row]")
@click.option("--published", is_flag=True, help="Add tables of what papers and repositories report.")
@click.option("-d", "--dataset", multiple=True, shell_complete=complete("datasets"), help="Only of it; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: the screen]")
def table(
    results: tuple[Path, ...],
    style: Style,
    form: str,
    reference: str | None,
    published: bool,
    dataset: tuple[str, ...],
    output: Path | None,
) -> None:
    """Print RESULTS, folders or record files, as tables in the papers' format.

    There is one table for each data set, protocol, input size, budget and precision; what is measured and what is
    reported never share one. LaTeX needs the packages booktabs and graphicx.
    """
    if not results and not published:
        raise UsageError("harness table: give a results folder, or --published for what papers report")
    records = _complete(read_results(results)) + (published_records() if published else [])
    tables = build_tables(_chosen(with_gains(records, reference), dataset), style)
    text = FORMATS[form](tables)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            write_atomically(output, text)
        except OSError as error:
            raise UsageError(f"-o {output}: {error.strerror}") from error


def _complete(records: Sequence[Record]) -> list[Record]:
    """Return the records of runs that came to their end; name the others."""
    for record in records:
        if record.status != "complete":
            click.echo(f"harness: {record.run_id} is {record.status} and left out", err=True)
    complete_ones = [record for record in records if record.status == "complete"]
    if records and not complete_ones:
        raise UsageError("none of the records is complete; repeat their commands to finish them")
    return complete_ones


def _chosen(records: Sequence[Record], datasets: Sequence[str]) -> list[Record]:
    known = dict.fromkeys(record.dataset.name for record in records)
    for name in datasets:
        if name not in known:
            raise UsageError(unknown("data set among the records:", name, known))
    return [record for record in records if not datasets or record.dataset.name in datasets]
