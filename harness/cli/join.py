"""``harness join``."""

from pathlib import Path

import click

from harness.run.join import join_artifacts


@click.command()
@click.argument("artifact", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the joined artifact.")
def join(artifact: tuple[Path, ...], output: Path) -> None:
    """Join artifacts whose tasks were trained apart, by one method with the same options.

    Prints the folder of the joined artifact. harness run --checkpoint evaluates it; its record has the whole training.
    """
    target, warnings = join_artifacts(artifact, output)
    for line in warnings:
        click.echo(f"harness: warning: {line}", err=True)
    click.echo(target)
