"""``harness run``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from harness.cli.completion import complete, complete_init
from harness.cli.options import SpreadCommand, below, parse_options, print_config, said
from harness.compute import PRECISIONS, RUNTIMES, Quantise
from harness.recipe import Balance, Budget, Overwrite

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.records import Record

# What computes is imported when the command runs: options are parsed and completed without torch.


_what, _data, _training = below("What is run"), below("Data and protocol"), below("Training")
_compute, _costs, _output = below("Device and processes"), below("Costs"), below("Output")


@click.command(cls=SpreadCommand)
@_what("-m", "--method", multiple=True, shell_complete=complete("methods"), help="Method; repeatable.")
@_what("-d", "--dataset", multiple=True, shell_complete=complete("datasets"), help="Data set; repeatable.")
@_what("-t", "--task", multiple=True, shell_complete=complete("tasks"), help="Task; default all; repeatable.")
@_what("-b", "--backbone", shell_complete=complete("backbones"), help="Encoder; default by method and budget.")
@_what("--checkpoint", type=click.Path(path_type=Path), help="Artifact folder, or published file.")
@_what("--runtime", type=click.Choice(RUNTIMES), help="What runs the model of --checkpoint.  [default: eager]")
@_what("--quantise", type=click.Choice(get_args(Quantise)), help="8-bit weights, by onnxruntime.")
@_what("--extend", type=click.Path(path_type=Path), help="Artifact folder to add the missing tasks to.")
@_what("--seed", type=int, multiple=True, help="Seed; repeatable.  [default: 0]")
@_what("--set", multiple=True, metavar="KEY=VALUE", help="Option of a method, or METHOD.KEY=VALUE.")
@_what("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@_what("-C", "--config", type=click.Path(path_type=Path), help="YAML file with these options as keys.")
@_data("--data-root", type=click.Path(path_type=Path), help="Where the data lies.")
@_data("--batch-size", type=int, help="Images per step of the evaluation.  [default: 8]")
@_data("--workers", metavar="N|auto", help="Loader processes; 0 loads in the main process.  [default: 0]")
@_data("--limit", type=int, help="Use only the first images of each split.")
@_data("--input-size", metavar="HxW", help="Size of the model's input.  [default: the data set's]")
@_data("--protocol", shell_complete=complete("protocols"), help="Profile of evaluation conventions.  [default: invpt]")
@_data("--protocol-set", multiple=True, metavar="KEY=VALUE", help="One convention over the profile's.")
@_training("--init", shell_complete=complete_init, metavar="random|pretrained|FILE", help="Start of the encoders.")
@_training("--budget", type=click.Choice(get_args(Budget)), help="Training recipe.  [default: quick]")
@_training("--iterations", type=int, help="Steps of every stage, instead of the budget's.")
@_training("--accumulate", type=int, help="Parts of a batch whose gradients are added.  [default: 1]")
@_training("--ema", type=float, metavar="DECAY", help="Average the weights, for example 0.999.")
@_training("--balance", type=click.Choice(get_args(Balance)), help="Balance losses or gradients of the tasks.")
@_training("--save-every", type=float, help="Seconds between training checkpoints.  [default: 30]")
@_compute("--device", help="cpu, cuda, cuda:1 ...  [default: a GPU when there is one]")
@_compute("--precision", type=click.Choice(PRECISIONS), help="Arithmetic.  [default: fp32]")
@_compute("--deterministic", is_flag=True, default=None, help="Equal results on a GPU too, more slowly.")
@_compute("--launcher", type=click.Choice(("local", "slurm", "ray")), help="Run the cells as jobs of their own.")
@_compute("--jobs", type=click.IntRange(1), help="Most jobs at the same time, with --launcher.")
@_compute("--launcher-arg", multiple=True, metavar="KEY=VALUE", help="Argument of the engine; repeatable.")
@_compute("--part", hidden=True, help="Train this part of the cells and nothing else.")
@_compute("--collect", is_flag=True, help="Train nothing: read the complete cells, and measure their costs.")
@_compute("--shard", metavar="I/N", help="Run every N-th cell from number I on, and measure no costs.")
@_costs("--probe", multiple=True, shell_complete=complete("probes"), help="Cost to measure, or none.  [default: all]")
@_costs("--min-seconds", type=float, help="Least seconds of timing per method.  [default: 3]")
@_output("-o", "--output", type=click.Path(path_type=Path), help="Results folder.  [default: results/measured]")
@_output("--save-predictions", type=click.Path(path_type=Path), metavar="DIR", help="Keep the predictions.")
@_output("--overwrite", type=click.Choice(get_args(Overwrite)), help="[default: only-missing]")
@_output("-q", "--quiet", is_flag=True, default=None, help="No progress bars.")
@_output("--track", multiple=True, metavar="NAME", help="Tracker: tensorboard, wandb, mlflow ...; repeatable.")
@_output("--publish", metavar="URL", help="Put finished runs into a store: s3://, gs://, sftp:// ...")
@said(_output)
@_output(
    "--show-config",
    is_flag=True,
    allow_from_autoenv=False,
    help="Print the settings in force as YAML for --config, and end.",
)
@_output(
    "--dry-run",
    is_flag=True,
    allow_from_autoenv=False,
    help="Print what each cell would do, how long and how large; run nothing.",
)
def run(
    config: Path | None,
    launcher: Any,
    jobs: int | None,
    launcher_arg: tuple[str, ...],
    shard: str | None,
    part: str | None,
    collect: bool,
    show_config: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Train or load methods, score them, and print the papers' table.

    Several -m, -d and --seed make a matrix. A run that was interrupted goes on where it stopped when the
    command is repeated; one that is complete is not repeated.
    """
    from rich.console import Console

    from harness.cli.outcome import finish
    from harness.config import RunConfig, parse_assignments
    from harness.data.loading import WHOLE
    from harness.errors import UsageError, counted
    from harness.files import write_atomically
    from harness.launch.plan import parse_shard
    from harness.launch.start import Elsewhere, launch
    from harness.records import conditions
    from harness.report.formats import markdown
    from harness.report.frontier import write_frontier
    from harness.report.table import build_table
    from harness.run import Outcome
    from harness.run import run as run_matrix

    settings = RunConfig.read(config, parse_options(options))
    if show_config:
        return print_config(settings)
    source = click.get_current_context().get_parameter_source("launcher")
    if (shard or part or collect) and source is ParameterSource.ENVIRONMENT:
        launcher = None  # the launcher's own process, which has its variables
    if bool(launcher) + bool(shard) + collect > 1:
        raise UsageError("--launcher, --shard and --collect exclude each other")
    if dry_run:
        return _plan(settings, parse_shard(shard) if shard else WHOLE)
    outcome: Outcome | Elsewhere
    if launcher:
        outcome = launch(settings, launcher, jobs, parse_assignments(launcher_arg, "--launcher-arg"))
    else:
        outcome = run_matrix(settings, parse_shard(shard) if shard else WHOLE, collect=collect, part=part)
    if isinstance(outcome, Elsewhere):
        click.echo(outcome.printed, nl=False)
        return finish(Outcome(settings.output, failures=outcome.failures))
    console = Console(width=None if sys.stdout.isatty() else 200)
    # One table for each set of conditions, on the screen and next to the runs.
    groups: dict[tuple[object, ...], list[Record]] = {}
    notes: list[str] = []
    for record in outcome.records:
        groups.setdefault(conditions(record), []).append(record)
    for group in groups.values():
        table = build_table(group)
        table.print(console)
        notes += table.notes
        first = group[0]
        folder = outcome.output / first.dataset.name
        try:
            write_atomically(folder / f"table.{first.budget}.{first.protocol_name}.md", markdown.render([table]))
            write_frontier(first, outcome.output)
        except OSError as error:  # the results of a finished run may lie on a read-only disk
            click.echo(
                f"harness: warning: the table and the frontier were not written to {folder}: {error.strerror}", err=True
            )
    if outcome.idle:
        click.echo(
            f"harness: nothing to do, {counted(len(outcome.records), 'run')} complete in {outcome.output}", err=True
        )
    return finish(outcome, notes)


def _plan(settings: "RunConfig", shard: tuple[int, int]) -> int:
    """Print what every cell of a matrix would do; return the exit code."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.cli.outcome import finish
    from harness.errors import counted
    from harness.report.cells import DASH
    from harness.report.text import duration, printable
    from harness.run.plan import plan

    planned, outcome = plan(settings, shard)
    table = Table(box=None, pad_edge=False)
    for name in ("run", "does", "with", "time", "disk MB"):
        table.add_column(name, justify="right" if name in ("time", "disk MB") else "left", overflow="fold")
    for one in planned:
        size = one.artifact_bytes + one.checkpoint_bytes
        texts = (one.title, one.does, one.detail, _about(one.seconds), f"{size / 1e6:.1f}" if size else DASH)
        table.add_row(*(Text(printable(text)) for text in texts))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    idle = sum(one.does == "nothing to do" for one in planned)
    known = [one.seconds for one in planned if one.seconds is not None]
    kept = sum(one.artifact_bytes for one in planned)
    most = max((one.checkpoint_bytes for one in planned), default=0)
    cells = f"{counted(len(planned), 'cell')}, {idle} complete"
    click.echo(
        f"{cells}; about {duration(sum(known))} without the costs of what is new, "
        f"{kept / 1e6:.1f} MB for artifacts and {most / 1e6:.1f} MB while training, in {outcome.output}"
    )
    return finish(outcome)


def _about(seconds: float | None) -> str:
    from harness.report.cells import DASH
    from harness.report.text import duration

    return DASH if not seconds else duration(seconds)
