"""``harness run``."""

import sys
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from harness.cli.completion import complete, complete_init
from harness.cli.outcome import finish
from harness.compute import PRECISIONS
from harness.config import Overwrite, RunConfig, parse_assignments
from harness.data.loading import WHOLE
from harness.errors import UsageError
from harness.files import write_atomically
from harness.launch.plan import parse_shard
from harness.launch.start import Elsewhere, Launcher, launch
from harness.recipe import Budget
from harness.records import Record, conditions
from harness.report.formats import markdown
from harness.report.frontier import write_frontier
from harness.report.table import build_table
from harness.run import Outcome
from harness.run import run as run_matrix


class SpreadCommand(click.Command):
    """A command without arguments whose repeatable options take several values: ``--seed 0 1`` sets both."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before each further value, then parse as usual."""
        # Flags that may be given several times: each further value gets its flag.
        repeatable = {
            flag for param in self.params if isinstance(param, click.Option) and param.multiple for flag in param.opts
        }
        spread: list[str] = []
        flag, values = "", 0
        for arg in args:
            if arg.startswith("-") and not (flag and values == 0):  # what follows a flag is its value, even -1
                name, equals, _ = arg.partition("=")
                flag, values = (name if name in repeatable else ""), (1 if equals else 0)
            elif flag:
                spread += [flag] if values else []
                values += 1
            spread.append(arg)
        return super().parse_args(ctx, spread)


@click.command(cls=SpreadCommand)
@click.option("-m", "--method", multiple=True, shell_complete=complete("methods"), help="Method; repeatable.")
@click.option("-d", "--dataset", multiple=True, shell_complete=complete("datasets"), help="Data set; repeatable.")
@click.option("-t", "--task", multiple=True, shell_complete=complete("tasks"), help="Task; default all; repeatable.")
@click.option("-b", "--backbone", shell_complete=complete("backbones"), help="Encoder; default by method and budget.")
@click.option("--init", shell_complete=complete_init, metavar="random|pretrained|FILE", help="Start of the encoders.")
@click.option("--budget", type=click.Choice(get_args(Budget)), help="Training recipe.  [default: quick]")
@click.option("--iterations", type=int, help="Steps of every stage, instead of the budget's.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Artifact folder, or published file.")
@click.option("--extend", type=click.Path(path_type=Path), help="Artifact folder to add the missing tasks to.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--device", help="cpu, cuda, cuda:1 ...  [default: a GPU when there is one]")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Arithmetic.  [default: fp32]")
@click.option("--deterministic", is_flag=True, default=None, help="Equal results on a GPU too, more slowly.")
@click.option("--batch-size", type=int, help="Images per step of the evaluation.  [default: 8]")
@click.option("--workers", metavar="N|auto", help="Loader processes; 0 loads in the main process.  [default: 0]")
@click.option("--seed", type=int, multiple=True, help="Seed; repeatable.  [default: 0]")
@click.option("--limit", type=int, help="Use only the first images of each split.")
@click.option("--input-size", metavar="HxW", help="Size of the model's input.  [default: the data set's]")
@click.option("--protocol", help="Profile of evaluation conventions.  [default: invpt]")
@click.option("--protocol-set", multiple=True, metavar="KEY=VALUE", help="One convention over the profile's.")
@click.option("--set", multiple=True, metavar="KEY=VALUE", help="Option of a method, or METHOD.KEY=VALUE.")
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
@click.option("-C", "config", type=click.Path(path_type=Path), help="YAML file with these options as keys.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Results folder.  [default: results/measured]")
@click.option("--save-predictions", type=click.Path(path_type=Path), metavar="DIR", help="Keep the predictions.")
@click.option("--save-every", type=float, help="Seconds between training checkpoints.  [default: 30]")
@click.option(
    "--probe", multiple=True, shell_complete=complete("probes"), help="Cost to measure, or none.  [default: all]"
)
@click.option("--min-seconds", type=float, help="Least seconds of timing per method.  [default: 3]")
@click.option("--overwrite", type=click.Choice(get_args(Overwrite)), help="[default: only-missing]")
@click.option("--track", multiple=True, metavar="NAME", help="Tracker: tensorboard, wandb, mlflow ...; repeatable.")
@click.option("--publish", metavar="URL", help="Put finished runs into a store: s3://, gs://, sftp:// ...")
@click.option("--launcher", type=click.Choice(get_args(Launcher)), help="Run the cells as jobs of their own.")
@click.option("--jobs", type=click.IntRange(1), help="Most jobs at the same time, with --launcher.")
@click.option("--launcher-arg", multiple=True, metavar="KEY=VALUE", help="Argument of the engine; repeatable.")
@click.option("--part", hidden=True, help="Train this part of the cells and nothing else.")
@click.option("--shard", metavar="I/N", help="Run every N-th cell from number I on, and measure no costs.")
@click.option(
    "--collect", is_flag=True, help="Train nothing: read the cells that are complete, and measure their costs."
)
@click.option("-q", "--quiet", is_flag=True, default=None, help="No progress bars.")
def run(
    config: Path | None,
    launcher: Launcher | None,
    jobs: int | None,
    launcher_arg: tuple[str, ...],
    shard: str | None,
    part: str | None,
    collect: bool,
    **options: Any,
) -> int:
    """Train or load methods, score them, and print the papers' table.

    Several -m, -d and --seed make a matrix. A run that was interrupted goes on where it stopped when the
    command is repeated; one that is complete is not repeated.
    """
    settings = RunConfig.read(config, parse_options(options))
    if bool(launcher) + bool(shard) + collect > 1:
        raise UsageError("--launcher, --shard and --collect exclude each other")
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
    for record in outcome.records:
        groups.setdefault(conditions(record), []).append(record)
    for group in groups.values():
        table = build_table(group)
        table.print(console)
        first = group[0]
        folder = outcome.output / first.dataset.name
        try:
            write_atomically(folder / f"table.{first.budget}.{first.protocol_name}.md", markdown.render([table]))
            write_frontier(first, outcome.output)
        except OSError as error:  # the results of a finished run may lie on a read-only disk
            click.echo(
                f"harness: warning: the table and the frontier were not written to {folder}: {error.strerror}", err=True
            )
    return finish(outcome)


def parse_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as fields of a configuration.

    Raises:
        UsageError: one of KEY=VALUE has no ``=``.
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    for key, value in given.items():
        if key in ("set", "protocol_set"):
            given[key] = parse_assignments(value, f"--{key.replace('_', '-')}")
        elif isinstance(value, tuple):
            given[key] = list(value)
    return given
