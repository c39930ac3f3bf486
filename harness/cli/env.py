"""``harness env``."""

import json

import click

from harness.compute import pick_device


@click.command()
@click.option("--device", help="cpu, cuda, cuda:1 or mps.  [default: a GPU when there is one]")
def env(device: str | None) -> None:
    """Print the system, versions and settings that every record stores, as JSON."""
    from harness.probes.environment import environment, software, system_id

    system = environment(pick_device(device))
    content = {"system_id": system_id(system), "harness": software().model_dump(), **system}
    click.echo(json.dumps(content, indent=1))
