"""``harness plot``."""

from pathlib import Path
from typing import get_args

import click

from harness.cli.completion import complete
from harness.cli.places import RESULTS
from harness.report.cells import Label


class _ListsValues(click.Command):
    """A command whose help ends with the values that can be drawn."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names of the values."""
        from harness.report.values import QUANTITIES

        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f"Values: {', '.join(QUANTITIES)}.")


@click.command(cls=_ListsValues)
@click.argument("results", nargs=-1, required=True, type=RESULTS)
@click.option("-x", default="latency_ms", show_default=True, metavar="VALUE", help="Horizontal value.")
@click.option("-y", default="delta_m", show_default=True, metavar="VALUE", help="Vertical value.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File: .svg, .png or .pdf; - for SVG on standard output.",
)
@click.option(
    "--label", type=click.Choice(get_args(Label)), default="method", show_default=True, help="Text at points."
)
@click.option("-d", "--dataset", shell_complete=complete("datasets"), help="Only the records of this data set.")
def plot(results: tuple[Path, ...], x: str, y: str, output: Path, label: Label, dataset: str | None) -> None:
    """Draw two metrics or costs of the records in RESULTS against each other, with the Pareto front.

    RESULTS are folders that hold records, or records. Seeds of one configuration become one point with error bars.
    One picture shows records of the same conditions alone; reported ones are open, marked † and never on the front.
    """
    from harness.cli.outcome import write_output
    from harness.errors import UsageError, unknown
    from harness.records import read_results
    from harness.records.reference import with_gains
    from harness.report.plot import scatter
    from harness.report.text import printable

    records = with_gains(read_results(results))
    if dataset is not None:
        names = {record.dataset.name for record in records}
        if dataset not in names:
            raise UsageError(f"-d: {unknown('data set of the records', dataset, sorted(names))}")
        records = [record for record in records if record.dataset.name == dataset]
    # Notes go to stderr, so that `-o -` gives the picture alone.
    drawn = scatter(records, x, y, label)
    if str(output) == "-":
        write_output("-o", None, drawn.render(".svg"))
    else:
        drawn.save(output)
    for note in drawn.notes:
        click.echo(f"harness: note: {printable(note)}", err=True)
    if str(output) != "-":
        click.echo(output)
