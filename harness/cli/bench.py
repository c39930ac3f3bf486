"""``harness bench``."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from harness.cli.completion import complete
from harness.cli.options import SpreadCommand, parse_options, print_config, said
from harness.compute import PRECISIONS, RUNTIMES, CompileMode, Quantise

FORMATS = ("table", "md", "csv", "json")


@click.command(cls=SpreadCommand)
@click.option("-m", "--method", multiple=True, shell_complete=complete("methods"), help="Method; repeatable.")
@click.option(
    "-d", "--dataset", multiple=True, shell_complete=complete("datasets"), help="Whose tasks.  [default: nyud]"
)
@click.option("-t", "--task", multiple=True, shell_complete=complete("tasks"), help="Task; default all; repeatable.")
@click.option("-b", "--backbone", multiple=True, shell_complete=complete("backbones"), help="[default: the method's]")
@click.option("--input-size", metavar="HxW", help="Size of the images.  [default: the data set's]")
@click.option("--precision", multiple=True, type=click.Choice(PRECISIONS), help="Arithmetic.  [default: fp32]")
@click.option("--batch-size", multiple=True, type=int, help="Images per forward pass.  [default: 1]")
@click.option("--device", help="cpu, cuda, cuda:1 ...  [default: a GPU when there is one]")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Artifact folder, or published file.")
@click.option("--probe", multiple=True, shell_complete=complete("probes"), help="Cost to measure.  [default: all]")
@click.option("--compile", type=click.Choice(get_args(CompileMode)), help="Time the model compiled by torch.compile.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What runs the models.  [default: eager]")
@click.option("--quantise", type=click.Choice(get_args(Quantise)), help="8-bit weights, by onnxruntime.")
@click.option("--cuda-graph", is_flag=True, default=None, help="Time the replay of a CUDA graph.")
@click.option("--channels-last", is_flag=True, default=None, help="Time with channels last in memory.")
@click.option("--min-iterations", type=int, help="Least samples per method.")
@click.option("--min-seconds", type=float, help="Least seconds of timing per method.  [default: 3]")
@click.option("--max-seconds", type=float, help="Most seconds of timing per method.  [default: 60]")
@click.option("--set", multiple=True, metavar="KEY=VALUE", help="Option of a method, or METHOD.KEY=VALUE.")
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option("-C", "--config", type=click.Path(path_type=Path), help="YAML file with these options as keys.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Results folder.  [default: results/measured]")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-q", "--quiet", is_flag=True, default=None, help="No progress bars.")
@said()
@click.option(
    "--show-config", is_flag=True, allow_from_autoenv=False, help="Print the settings in force as YAML, and end."
)
def bench(config: Path | None, form: str, show_config: bool, **options: Any) -> int:
    """Measure what methods cost, on random weights and random images; no data is needed.

    Several -m, -d, -b, --precision and --batch-size make a matrix; a flag takes several values at once. The methods on
    one data set are timed with interleaved calls, so that their ratios hold on a busy machine too.
    """
    from rich.console import Console

    from harness.bench import bench as measure
    from harness.cli.outcome import finish
    from harness.config import BenchConfig
    from harness.report.costs import as_csv, cost_rows, cost_tables
    from harness.report.formats import markdown
    from harness.report.text import to_json

    settings = BenchConfig.read(config, parse_options(options))
    if show_config:
        return print_config(settings)
    outcome = measure(settings)
    rows = [row for record in outcome.records for row in cost_rows(record, outcome.output)]
    if form == "json":
        click.echo(to_json(rows, ascii_only=True))
    elif form == "csv":
        click.echo(as_csv(rows), nl=False)
    elif form == "md":
        click.echo(markdown.render(cost_tables(outcome.records)), nl=False)
    else:
        console = Console(width=None if sys.stdout.isatty() else 300)
        tables = cost_tables(outcome.records)
        for table in tables:
            table.print(console)
        return finish(outcome, [note for table in tables for note in table.notes])
    return finish(outcome)
