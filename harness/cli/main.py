"""The command ``harness``: parses, calls, prints, and turns errors into exit codes."""

import contextlib
import io
import logging
import os
import shlex
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import harness
from harness.errors import HarnessError, MethodError, Terminated, UsageError, shortened, shown, unknown
from harness.files import disk_fault
from harness.training import termination

_LOGGER = logging.getLogger("harness")
_LOGGER.addHandler(logging.NullHandler())  # else Python prints errors itself


class _ReaderGoneError(Exception):
    """The reader of stdout went away, as `head` does."""


@contextlib.contextmanager
def _pipe_past_click() -> Iterator[None]:
    """Keep a closed pipe from Click, which ends with ``sys.exit(1)`` then: here, the code of a regression."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


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
        _take_from_environment(command, f"HARNESS_{cmd_name}")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a subcommand without importing any."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        known = [(name, text) for name, (_, _, text) in self.modules.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in known]

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments, and print help where it is asked for."""
        with _pipe_past_click():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand. Termination passes Click by, which would print an empty line for it."""
        try:
            with _pipe_past_click():
                return super().invoke(ctx)
        except Terminated as error:
            return _end(f"terminated by {error}; repeat the command to go on where it stopped", error.exit_code)

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


def _take_from_environment(command: click.Command, prefix: str) -> None:
    """Give every option of a command a variable, named after its long flag: ``HARNESS_RUN_BATCH_SIZE``."""
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        _take_from_environment(inner, f"{prefix}_{name}")
    for param in command.params:
        if isinstance(param, click.Option) and param.allow_from_autoenv:
            flag = max(param.opts, key=len).lstrip("-")
            param.envvar = f"{prefix}_{flag}".replace("-", "_").upper()


@click.group(
    cls=LazyGroup,
    modules={
        "run": ("harness.cli.run", "run", "Train or load methods, score them, print the papers' table."),
        "bench": ("harness.cli.bench", "bench", "Measure what methods cost; needs no data and no weights."),
        "score": ("harness.cli.score", "score", "Score predictions that any code base saved."),
        "table": ("harness.cli.table", "table", "Print results as tables: Markdown, LaTeX, CSV, HTML or JSON."),
        "leaderboard": ("harness.cli.leaderboard", "leaderboard", "Build static pages of tables, fronts and records."),
        "plot": ("harness.cli.plot", "plot", "Draw two values of records against each other, with the Pareto front."),
        "predict": ("harness.cli.predict", "predict", "Draw what a trained model predicts, and where it errs."),
        "export": ("harness.cli.export", "export", "Export a trained model to ONNX or a torch program, checked."),
        "stream": ("harness.cli.stream", "stream", "Stream video through a trained model, with an overlay to look at."),
        "compare": (
            "harness.cli.compare",
            "compare",
            "Say what changed between two sets of records; fail if it got worse.",
        ),
        "validate": ("harness.cli.validate", "validate", "Check records before they enter a leaderboard."),
        "status": ("harness.cli.status", "status", "Show which runs are queued, running, stale, failed or done."),
        "join": ("harness.cli.join", "join", "Join artifacts whose tasks were trained apart."),
        "ls": ("harness.cli.ls", "ls", "List methods, datasets, tasks, backbones, probes, protocols or results."),
        "show": (
            "harness.cli.show",
            "show",
            "Show the card of a method, data set, task, backbone or protocol, or a record.",
        ),
        "data": ("harness.cli.data", "data", "Inspect, check, fetch, prepare or render data sets."),
        "env": ("harness.cli.env", "env", "Show the system as it is stored with records."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(harness.__version__, "-V", "--version", prog_name="harness", allow_from_autoenv=False)
def cli() -> None:
    """Compare multi-task methods for dense scene understanding: accuracy and cost, by one protocol."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code.

    0 fine, 1 gate failed or submission refused, 2 usage or bad input, 3 data missing or corrupt, 4 a method failed,
    70 an internal error,
    130 interrupted, 141 the reader of the output went away, 143 terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding without arrows shows question marks
    if "_HARNESS_COMPLETE" in os.environ:  # click prints names and exits by itself
        cli.main(args=arguments, prog_name="harness")
    termination.install()  # before any work, so that a cluster's signal always finds it
    code = exit_code(lambda: cli.main(args=arguments, prog_name="harness", standalone_mode=False))
    if code == Terminated.exit_code:  # loader processes that do not end would be waited for
        timer = threading.Timer(_GRACE, os._exit, (code,))
        timer.daemon = True
        timer.start()
    sys.exit(code)


_GRACE = 3.0
"""Seconds for the end of other processes after termination; a cluster kills 10 seconds after its signal or later."""


def _say(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print what this package warns of as one line on stderr; warnings of libraries are for developers."""
    if category.__module__.startswith("harness."):
        click.echo(f"harness: {message}", err=True)


def exit_code(call: Callable[[], Any]) -> int:
    """Run ``call`` and return its exit code; every error is printed as one line on stderr."""
    warnings.showwarning = _say
    try:
        result = call()
        sys.stdout.flush()
    except HarnessError as error:
        return _end(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _end("interrupted; repeat the command to go on where it stopped", 130)
    except (Exception, SystemExit) as error:
        return _unforeseen(error)
    return result if isinstance(result, int) else 0


def _end(line: str, code: int) -> int:
    """Print the last line of a command on stderr and return its exit code."""
    _LOGGER.error(line)
    with contextlib.suppress(OSError):  # stderr may be closed or full
        click.echo(f"harness: {line}", err=True)
    return code


def _unforeseen(error: BaseException) -> int:
    """Return the exit code of an error that no room turned into a `HarnessError`."""
    # 1. The reader of a pipe has what it wanted. rich turns it into sys.exit(1).
    if isinstance(error, _ReaderGoneError | BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    ):
        with contextlib.suppress(OSError, ValueError):  # what is still buffered has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    if isinstance(error, SystemExit):
        return _end(f"something called sys.exit({shown(error.code)}), most likely a plug-in", MethodError.exit_code)
    # 2. The disk or the place of a file.
    fault = disk_fault(error)
    if fault is not None or (isinstance(error, OSError) and error.filename is not None):
        place = getattr(error, "filename", None) or "the disk"
        return _end(f"{place}: {fault or getattr(error, 'strerror', error)}", UsageError.exit_code)
    # 3. A fault of the harness itself: the traceback goes to a file.
    named = shortened(f"{type(error).__name__}: {error}")
    text = f"command: {shlex.join(sys.argv)}\nharness {harness.__version__}\n\n{traceback.format_exc()}"
    return _end(f"internal error ({named}); {_logged(text)}", HarnessError.exit_code)


_BROKEN_PIPE = 141
"""The code of a process that a closed pipe ends, 128 + SIGPIPE."""


def _logged(text: str) -> str:
    """Write a traceback to a new file below the cache or the temporary folder; return what to do with it."""
    from harness.files import cache_home

    places: tuple[Callable[[], Path], ...] = (lambda: cache_home() / "logs", lambda: Path(tempfile.gettempdir()))
    for folder in places:
        with contextlib.suppress(OSError, HarnessError):
            place = folder()
            place.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="harness-", suffix=".log", dir=place)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"please report it with {name}"
    return "no log could be written"
