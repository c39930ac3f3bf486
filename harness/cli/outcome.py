"""Output of commands: files and standard output, the last lines on stderr, and the exit code."""

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.files import write_atomically, writing_to
from harness.progress import LOGGER

if TYPE_CHECKING:
    from harness.run import Outcome


def finish(outcome: "Outcome", notes: Sequence[str] = ()) -> int:
    """Print warnings and failures to stderr; return the exit code of the first failure, else 0.

    Args:
        outcome: What a command did.
        notes: Lines below the tables that were printed; a warning that one of them says is not said again.
    """
    for line in dict.fromkeys(outcome.warnings):
        if any(line.partition(": ")[2] in note for note in notes):
            continue
        LOGGER.warning(line)
        click.echo(f"harness: warning: {line}", err=True)
    for title, error in outcome.failures:
        LOGGER.error("%s %s", title, error, exc_info=error)
        click.echo(f"harness: {title} {error}", err=True)
        if LOGGER.isEnabledFor(logging.DEBUG):
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    return outcome.failures[0][1].exit_code if outcome.failures else 0


def write_output(option: str, path: Path | None, content: str | bytes) -> None:
    """Write what a command makes to a file; without one, or to ``-``, to standard output.

    Raises:
        UsageError: the file cannot be written; the message begins with the option.
    """
    if path is None or str(path) == "-":
        click.echo(content, nl=False)
        sys.stdout.flush()
        return
    with writing_to(f"{option} {path}"):
        write_atomically(path, content)
