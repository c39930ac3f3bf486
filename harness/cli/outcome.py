"""What a command says on stderr in the end, and its exit code."""

import click

from harness.run import Outcome


def tell(outcome: Outcome) -> int:
    """Print warnings and failures to stderr; return the exit code of the first failure, else 0."""
    for line in outcome.warnings:
        click.echo(f"harness: warning: {line}", err=True)
    for title, error in outcome.failures:
        click.echo(f"harness: {title} {error}", err=True)
    return outcome.failures[0][1].exit_code if outcome.failures else 0
