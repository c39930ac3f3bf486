"""``harness export``."""

from pathlib import Path
from typing import Literal

import click

from harness.cli.completion import complete


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(["onnx", "torch-export"]), default="onnx", show_default=True)
@click.option("-d", "--dataset", shell_complete=complete("datasets"), help="Compare on its images.  [default: random]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--limit", type=click.IntRange(1, 1000), default=4, show_default=True, help="Images to compare on.")
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("exported"), show_default=True)
def export(
    artifact: Path,
    target: Literal["onnx", "torch-export"],
    dataset: str | None,
    data_root: Path | None,
    limit: int,
    plugin: tuple[str, ...],
    output: Path,
) -> int:
    """Export the model of ARTIFACT, the folder of a run, to a file that other runtimes read.

    The file is kept only if it predicts what the model predicts, to 1e-4 of the largest value of each map. What it
    takes and gives stands in export.json beside it.
    """
    from harness.registry import load_plugin
    from harness.run.export import export as export_artifact

    for source in plugin:
        load_plugin(source)
    made = export_artifact(artifact, target, output, dataset, data_root, limit)
    operators = f"opset {made.opset}" if made.opset else "torch.export"
    shape = "x".join(map(str, made.input["images"]))
    click.echo(f"{output / made.file}: {made.bytes / 1e6:.2f} MB, {operators}, images {shape}")
    worst = max(made.largest_error.values())
    click.echo(f"equal to {worst:.1e} of the largest value on {made.checked_on}")
    if made.fixed_batch:
        click.echo(f"the batch is fixed: {made.fixed_batch}", err=True)
    return 0
