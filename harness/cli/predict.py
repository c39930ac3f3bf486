"""``harness predict``."""

from pathlib import Path
from typing import Any, get_args

import click

from harness.cli.completion import complete
from harness.cli.options import parse_options, said
from harness.compute import PRECISIONS
from harness.data import Split


@click.command()
@click.argument("image", nargs=-1, type=click.Path(path_type=Path))
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="Artifact folder of a run.")
@click.option("-m", "--method", shell_complete=complete("methods"), help="Method.  [default: the artifact's]")
@click.option("-d", "--dataset", shell_complete=complete("datasets"), help="Draw its scenes, with labels and errors.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--split", type=click.Choice(get_args(Split)), help="Split of the data set.  [default: val]")
@click.option("--limit", type=int, help="Draw only the first images.")
@click.option("-t", "--task", multiple=True, shell_complete=complete("tasks"), help="Task; default all; repeatable.")
@click.option("--device", help="cpu, cuda, cuda:1 ...  [default: a GPU when there is one]")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Arithmetic.  [default: fp32]")
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the pictures.  [default: pictures]")
@click.option("-q", "--quiet", is_flag=True, default=None, help="No progress bars.")
@said()
def predict(**options: Any) -> int:
    """Draw what a trained model predicts for every IMAGE, a file or a folder, or for the scenes of a data set.

    Each image becomes one PNG with the panels of all tasks side by side, and index.html shows them all. With -d there
    are labels, and the panels show them and the errors too.
    """
    from harness.config import PredictConfig
    from harness.errors import DataError
    from harness.gallery.predict import predict as draw

    drawn = draw(PredictConfig.read(None, parse_options(options)))
    for line in drawn.unreadable:
        click.echo(f"harness: {line}", err=True)
    if drawn.page is not None:
        click.echo(drawn.page)
    return DataError.exit_code if drawn.unreadable else 0
