"""``harness ls`` and ``harness show`` print names as they are, whatever is in them, and strict JSON."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from records import record

from harness.cli.main import cli
from harness.records import write_record
from harness.records.load import UnreadableRecord

NAMES = ["d/[/x]", "d/[bold]b[/bold]", "d/:smile:", "d/\x1b[31mred", "d/\x9b2J", "d/\u202eturned"]


def listed(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["ls", "results", "-o", str(root), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def stored(root: Path, run_id: str, **changes: object) -> Path:
    folder = root / str(len(list(root.iterdir())))
    folder.mkdir()
    write_record(record("m", (0.1, None, 3.0, 0.4), run_id=run_id, **changes), folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wide", [False, True], ids=["fits", "wrapped"])
def test_names_are_neither_markup_nor_terminal_escapes(name: str, wide: bool, tmp_path: Path) -> None:
    stored(tmp_path, name)
    if wide:
        stored(tmp_path, "d/" + "x" * 300)
    text = listed(tmp_path)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert re.sub("[\x1b\x9b\u202e]", "\N{REPLACEMENT CHARACTER}", name) in text


def test_a_null_is_a_dash(tmp_path: Path) -> None:
    stored(tmp_path, "d/a")
    one = record("m", (0.1,), run_id="d/b")
    (tmp_path / "b").mkdir()
    write_record(one, tmp_path / "b")
    header, *lines = [re.split(r"  +", line.strip()) for line in listed(tmp_path).splitlines()]
    assert [line[header.index("depth")] for line in lines] == ["–", "–"]
    assert lines[1][header.index("normals")] == "–", "a task that a record does not have"


def test_json_is_strict_and_without_control_characters(tmp_path: Path) -> None:
    folder = stored(tmp_path, "d/\x1b\x9b", config={"x": 1.0})

    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    [row] = json.loads(listed(tmp_path, "-f", "json"), parse_constant=refuse)
    assert row["run_id"] == "d/\x1b\x9b"
    shown = CliRunner().invoke(cli, ["show", str(folder)], catch_exceptions=False)
    assert json.loads(shown.stdout, parse_constant=refuse)["config"] == {"x": 1.0}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.stdout)


def test_a_record_with_infinity_is_left_out(tmp_path: Path) -> None:
    stored(tmp_path, "d/a")
    folder = stored(tmp_path, "d/b", config={"x": 1.0})
    path = folder / "record.json"
    text = path.read_text().replace('"x": 1.0', '"x": Infinity').replace('"x":1.0', '"x": Infinity')
    assert "Infinity" in text
    path.write_text(text)
    with pytest.warns(UnreadableRecord):
        assert [row["run_id"] for row in json.loads(listed(tmp_path, "-f", "json"))] == ["d/a"]
