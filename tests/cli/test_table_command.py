"""``harness table`` as a user runs it."""

import csv
import io
import json
from pathlib import Path

import pytest
from records import record

from harness.records import write_record

SINGLE, MULTI = (0.40, 0.60, 20.0, 0.76), (0.44, 0.57, 21.0, 0.76)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with a single-task and a multi-task record."""
    for one in (record("single-task", SINGLE), record("multi-task", MULTI)):
        write_record(one, tmp_path / "results" / one.run_id)
    return Path("results")


def test_a_folder_is_printed_and_nothing_else(harness, results: Path) -> None:
    found = harness("table", results)
    assert (found.code, found.err) == (0, "")
    lines = [line for line in found.out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["single-task", "multi-task"]
    assert "**44.00**" in found.out
    assert "+2.50" in found.out


def test_files_and_folders_that_overlap_count_once(harness, results: Path) -> None:
    file = next((Path.cwd() / results).rglob("record.json"))
    assert harness("table", results, file, results / "..").out == harness("table", results).out


@pytest.mark.parametrize("form", ["md", "latex", "csv", "html", "json"])
def test_a_file_holds_the_same_bytes_as_the_screen_every_time(harness, results: Path, form: str) -> None:
    shown = harness("table", results, "-f", form)
    assert shown.code == 0
    for name in ("one", "two"):
        assert harness("table", results, "-f", form, "-o", f"sub/{name}").out == ""
    assert Path("sub/one").read_text() == Path("sub/two").read_text() == shown.out


def test_another_reference_changes_the_gains(harness, results: Path) -> None:
    [first] = json.loads(harness("table", results, "-f", "json", "--reference", "multi-task").out)
    assert first["conditions"]["delta_m_references"] == ["nyud-synth/multi-task.seed0"]
    gains = {row["method"]: row["delta_m"]["value"] for row in first["rows"]}
    assert gains["multi-task"] == 0
    assert gains["single-task"] < 0


def test_published_rows_stand_in_tables_of_their_own(harness, results: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(harness("table", results, "--published", "-f", "csv").out)))
    assert sum(row["source"] == "reported" for row in rows) == 163
    assert sum(row["source"] == "measured" for row in rows) == 2
    alone = harness("table", "--published", "-d", "nyud")
    assert alone.code == 0
    assert "pascal-context" not in alone.out


def test_unfinished_records_are_named_and_left_out(harness, results: Path) -> None:
    write_record(record("share", MULTI, status="partial"), results / "nyud-synth" / "share")
    found = harness("table", results)
    assert found.code == 0
    assert "share.seed0 is partial and left out" in found.err
    assert "share" not in found.out


def failure(harness, *arguments: object) -> str:
    found = harness("table", *arguments)
    assert (found.code, found.out) == (2, "")
    assert len(found.err.splitlines()) == 1, found.err
    return found.err


def test_what_is_wrong_is_one_line(harness, results: Path, tmp_path: Path) -> None:
    assert "nowhere: no such file or folder" in failure(harness, "nowhere")
    Path("empty").mkdir()
    assert "no record.json below it" in failure(harness, "empty")
    assert "give a results folder, or --published" in failure(harness)
    assert "did you mean single-task" in failure(harness, results, "--reference", "single-tsk")
    assert "known: nyud-synth" in failure(harness, results, "-d", "pascal")
    (tmp_path / "bad.json").write_text("{")
    assert "damaged or of another schema version" in failure(harness, results, "bad.json")
    write_record(record("single-task", MULTI), tmp_path / "other")
    assert "different records of nyud-synth/single-task.seed0" in failure(harness, results, "other")
    write_record(record("m", MULTI, status="failed"), tmp_path / "failed")
    assert harness("table", "failed").code == 2
