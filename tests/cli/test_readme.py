"""What the README shows works as it stands there."""

import re
import shlex
from pathlib import Path

import click
from click.testing import CliRunner

from harness.cli.main import cli
from harness.records import find_records

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_method_of_the_readme_runs_from_its_file(harness, mini, tmp_path: Path) -> None:
    [code] = [block for block in blocks("python") if "my_method.py" in block]
    source = tmp_path / "my_method.py"
    source.write_text(code)
    result = harness("run", "-m", "linear-probes", "--plugin", source, *mini)
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    assert record.method.name == "linear-probes"
    assert record.parameters is not None
    assert set(record.parameters.per_part) == {"encoder", "heads"}


def test_every_command_of_the_readme_parses() -> None:
    lines = [line.partition("#")[0] for block in blocks("bash") for line in block.splitlines()]
    commands = [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("harness ")]
    assert len(commands) > 4
    for command in commands:
        name, *arguments = shlex.split(command)[1:]
        subcommand = cli.get_command(click.Context(cli), name)
        assert subcommand is not None, command
        if isinstance(subcommand, click.Group):
            name, *arguments = arguments
            subcommand = subcommand.commands[name]
        subcommand.make_context(name, arguments)


def test_help_lists_every_command_quickly() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("run", "ls", "show", "data", "env"):
        assert name in result.output
