"""What the README shows works as it stands there."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.records import find_records

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("page", "file", "method", "parts"),
    [
        (README, "my_method.py", "linear-probes", {"encoder", "heads"}),
        (
            ROOT / "docs" / "methods.md",
            "task_adapters.py",
            "task-adapters",
            {"encoder", "head/semseg", "head/depth", "head/normals", "head/boundary"},
        ),
    ],
)
def test_the_methods_of_the_pages_run_from_their_files(
    page: Path, file: str, method: str, parts: set[str], harness, mini, tmp_path: Path
) -> None:
    [code] = [block for block in blocks(page, "python") if block.startswith(f"# {file}")]
    source = tmp_path / file
    source.write_text(code)
    result = harness("run", "-m", method, "--plugin", source, *mini)
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    assert record.method.name == method
    assert record.parameters is not None
    assert set(record.parameters.per_part) == parts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_parses(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.registry.load.load_plugin", lambda source: None)  # the page shows it, it is not here
    lines = [line.partition("#")[0] for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("harness ")]
    for command in commands:
        name, *arguments = shlex.split(command)[1:]
        subcommand = cli.get_command(click.Context(cli), name)
        assert subcommand is not None, command
        if isinstance(subcommand, click.Group):
            name, *arguments = arguments
            subcommand = subcommand.commands[name]
        subcommand.make_context(name, arguments)


def test_the_readme_shows_commands() -> None:
    assert sum(line.startswith("harness ") for block in blocks(README, "bash") for line in block.splitlines()) > 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", prose):
        if target and "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_help_lists_every_command_quickly() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("run", "ls", "show", "data", "env"):
        assert name in result.output
