"""``harness env``."""

import json

import click

from harness.probes.environment import environment, software, system_id


@click.command()
def env() -> None:
    """Print the system, versions and settings that every record stores, as JSON."""
    system = environment()
    content = {"system_id": system_id(system), "harness": software().model_dump(), **system}
    click.echo(json.dumps(content, indent=1))
