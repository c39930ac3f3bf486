"""Output of commands: files and standard output, the last lines on stderr, and the exit code."""

import sys
from pathlib import Path

import click

from harness.files import write_atomically, writing_to
from harness.run import Outcome


def finish(outcome: Outcome) -> int:
    """Print warnings and failures to stderr; return the exit code of the first failure, else 0."""
    for line in outcome.warnings:
        click.echo(f"harness: warning: {line}", err=True)
    for title, error in outcome.failures:
        click.echo(f"harness: {title} {error}", err=True)
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
