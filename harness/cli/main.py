"""The command ``harness``: parses, calls, prints, and turns errors into exit codes."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

import harness
from harness.errors import HarnessError, unknown


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is used, so that help is quick.

    Args:
        modules: Subcommand name to (module, attribute, help line).
    """

    def __init__(self, *args: Any, modules: dict[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands in the order they are used in."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in self.modules:
            return None
        module, attribute, _ = self.modules[cmd_name]
        command: click.Command = getattr(__import__(module, fromlist=[attribute]), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self.modules.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a subcommand; an unknown one answers with the nearest names."""
        if args[0] not in self.modules and not args[0].startswith("-"):
            ctx.fail(unknown("command", args[0], self.modules))
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    modules={
        "run": ("harness.cli.run", "run", "Train or load methods, score them, print the papers' table."),
        "bench": ("harness.cli.bench", "bench", "Measure what methods cost; needs no data and no weights."),
        "score": ("harness.cli.score", "score", "Score predictions that any code base saved."),
        "table": ("harness.cli.table", "table", "Print results as tables: Markdown, LaTeX, CSV, HTML or JSON."),
        "leaderboard": ("harness.cli.leaderboard", "leaderboard", "Build static pages of tables, fronts and records."),
        "plot": ("harness.cli.plot", "plot", "Draw two figures of records against each other, with the Pareto front."),
        "predict": ("harness.cli.predict", "predict", "Draw what a trained model predicts, and where it errs."),
        "compare": (
            "harness.cli.compare",
            "compare",
            "Tell what changed between two sets of records; fail if it got worse.",
        ),
        "ls": ("harness.cli.ls", "ls", "List methods, datasets, tasks, backbones, probes or results."),
        "show": (
            "harness.cli.show",
            "show",
            "Show the card of a method, data set, task, backbone or record.",
        ),
        "data": ("harness.cli.data", "data", "Inspect, check, fetch, prepare or render data sets."),
        "env": ("harness.cli.env", "env", "Show the system as it is stored with records."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(harness.__version__, prog_name="harness")
def cli() -> None:
    """Compare multi-task methods for dense scene understanding: accuracy and cost, by one protocol."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code.

    0 fine, 1 gate failed, 2 usage or bad input, 3 data missing or corrupt, 4 a method failed, 130 interrupted.
    """
    sys.exit(exit_code(lambda: cli.main(args=arguments, prog_name="harness", standalone_mode=False)))


def _say(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print what this package warns of as one line on stderr; warnings of libraries are for developers."""
    if category.__module__.startswith("harness."):
        click.echo(f"harness: {message}", err=True)


def exit_code(call: Callable[[], Any]) -> int:
    """Run ``call`` and return its exit code; errors a user can mend are printed as one line on stderr."""
    warnings.showwarning = _say
    try:
        result = call()
    except HarnessError as error:
        click.echo(f"harness: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("harness: interrupted; repeat the command to go on where it stopped", err=True)
        return 130
    return result if isinstance(result, int) else 0
