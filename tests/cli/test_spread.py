"""Several values after one flag."""

import json

import click
import pytest
from click.testing import CliRunner

from harness.cli.options import SpreadCommand


@click.command(cls=SpreadCommand)
@click.option("-m", "--method", multiple=True)
@click.option("--seed", type=int, multiple=True)
@click.option("--device")
@click.option("-q", "--quiet", is_flag=True)
def command(**options: object) -> None:
    click.echo(json.dumps(options))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("-m a b --seed 1 2 -q", {"method": ["a", "b"], "seed": [1, 2], "quiet": True}),
        ("-m a -m b c", {"method": ["a", "b", "c"]}),
        ("--method=a b --device cpu", {"method": ["a", "b"], "device": "cpu"}),
        ("--seed -1 2", {"seed": [-1, 2]}),
        ("-ma", {"method": ["a"]}),
        ("", {}),
    ],
)
def test_values_after_a_repeatable_flag_are_its_own(arguments: str, options: dict[str, object]) -> None:
    result = CliRunner().invoke(command, arguments.split())
    nothing: dict[str, object] = {"method": [], "seed": [], "device": None, "quiet": False}
    assert json.loads(result.output) == nothing | options


@pytest.mark.parametrize("arguments", ["--device cpu x", "-q x", "-m a -q x", "x", "-m"])
def test_values_that_belong_to_no_flag_are_refused(arguments: str) -> None:
    assert CliRunner().invoke(command, arguments.split()).exit_code == 2
