"""``harness score``."""

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.completion import complete
from harness.cli.options import parse_options, said


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("-d", "--dataset", required=True, shell_complete=complete("datasets"), help="Data set.")
@click.option("--name", help="Name of the method in tables.  [default: the folder's]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--limit", type=int, help="Use only the first images of the split.")
@click.option("--input-size", metavar="HxW", help="Size of padded predictions.  [default: the data set's]")
@click.option(
    "--protocol", shell_complete=complete("protocols"), help="Profile of evaluation conventions.  [default: invpt]"
)
@click.option("--protocol-set", multiple=True, metavar="KEY=VALUE", help="One convention over the profile's.")
@click.option("--plugin", multiple=True, help="Python file or module that defines data sets.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Results folder.  [default: results/measured]")
@click.option("-q", "--quiet", is_flag=True, default=None, help="No progress bars.")
@said()
def score(**options: Any) -> int:
    """Score the PREDICTIONS of any code base and print the papers' table.

    PREDICTIONS holds a folder per task (semseg, parts or human_parts, saliency or sal, normals, depth, boundary or
    edge) with a file per image. Files that are missing, broken or surplus are named; the rest is scored.
    """
    from rich.console import Console

    from harness.config import ScoreConfig
    from harness.errors import DataError
    from harness.files import check_writable, write_atomically, writing_to
    from harness.predictions.score import score as score_predictions
    from harness.report.formats import markdown
    from harness.report.table import build_table

    config = ScoreConfig.read(None, parse_options(options))
    check_writable("-o", config.output)
    with writing_to(f"-o {config.output}"):
        scored = score_predictions(config)
    table = build_table([scored.record])
    table.print(Console(width=None if sys.stdout.isatty() else 200))
    folder = config.output / scored.record.run_id
    with writing_to(f"-o {config.output}"):
        write_atomically(folder / "table.md", markdown.render([table]))
    for kind in ("missing", "broken", "surplus"):
        for name in getattr(scored, kind):
            click.echo(f"harness: {kind}: {name}", err=True)
    for fault in scored.doubtful:
        click.echo(f"harness: warning: {fault}", err=True)
    return DataError.exit_code if scored.missing or scored.broken else 0
