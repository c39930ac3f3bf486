"""Messages say a thing once, in words of this package, and how to mend it."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import record

from harness.cli.outcome import finish
from harness.data.card import load_card
from harness.data.fetch import fetch
from harness.errors import DataError, counted
from harness.measurement import Outcome
from harness.records import find_records, write_record

REFUSING = """
from harness.baselines.multi_task import MultiTask
from harness.errors import UsageError

class Refusing(MultiTask):
    name = "refusing"
    summary = "takes no model"

    def build(self, problem):
        raise UsageError("no published weights of this encoder")
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("run",), "no method is named; give -m METHOD, `harness ls methods` lists them"),
        (("bench",), "no method is named; give -m METHOD"),
        (("predict", "--checkpoint", "x"), "give images, or a data set with -d; one of the two"),
        (("run", "-m", "share", "--batch-size", 0), "batch_size: must be greater than or equal to 1, not 0"),
    ],
)
def test_faults_of_settings_are_in_our_words(
    command: tuple[object, ...], said: str, harness: Callable[..., Any]
) -> None:
    result = harness(*command)
    assert result.code == 2
    assert said in result.err
    assert "Field required" not in result.err
    assert "Value error" not in result.err
    assert len(result.err.splitlines()) == 1


def test_a_complete_run_has_nothing_to_do(harness: Callable[..., Any], mini: tuple[object, ...]) -> None:
    run = ("run", "-m", "multi-task", *mini)
    assert "nothing to do" not in harness(*run).err
    again = harness(*run)
    assert (again.code, "harness: nothing to do, 1 run complete in out\n" in again.err) == (0, True)
    assert "nothing to do" not in harness(*run, "--probe", "memory").err, "costs were measured"


def test_a_refused_cell_leaves_no_folder(harness: Callable[..., Any], mini: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "refusing.py").write_text(REFUSING)
    refused = harness("run", "-m", "refusing", "multi-task", "--plugin", "refusing.py", *mini)
    assert (refused.code, "no published weights of this encoder" in refused.err) == (2, True)
    assert [path.name.partition(".")[0] for path in (tmp_path / "out" / "nyud").iterdir() if path.is_dir()] == [
        "multi-task"
    ]
    assert [one.status for one in find_records(tmp_path / "out")] == ["complete"]


def test_a_warning_that_a_table_gives_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(warnings=["a on nyud: the fan fell off", "a on nyud: the fan fell off", "b on nyud: it is hot"])
    assert finish(outcome, ["latency of a, b: the fan fell off"]) == 0
    assert capsys.readouterr().err == "harness: warning: b on nyud: it is hot\n"
    finish(outcome)
    assert capsys.readouterr().err.count("the fan fell off") == 1


def test_every_record_that_no_picture_can_show_is_named_with_its_reason(
    harness: Callable[..., Any], tmp_path: Path
) -> None:
    for name, changes in {"a": {"unmeasured": {"latency": "too slow"}}, "b": {"status": "partial"}}.items():
        write_record(record(name, (0.4,), run_id=f"nyud/{name}", **changes), tmp_path / "out" / "nyud" / name)
    result = harness("plot", "out", "-x", "latency_ms", "-y", "semseg", "-o", "p.svg")
    assert result.code == 2
    assert "nyud/a is left out: no latency_ms (too slow); nyud/b is left out: the run is partial" in result.err


@pytest.mark.parametrize(("count", "text"), [(0, "0 threads"), (1, "1 thread"), (2, "2 threads")])
def test_numbers_go_with_their_nouns(count: int, text: str) -> None:
    assert counted(count, "thread") == text


def test_links_are_told_apart_once(harness: Callable[..., Any]) -> None:
    lines = [line.strip() for line in harness("data", "info", "nyud").out.splitlines()]
    links = [line for line in lines if "https://" in line and "link" in line.partition(":")[0]]
    addresses = [link.url for archive in load_card("nyud").archives for link in archive.links]
    assert sorted(line.partition(": ")[2] for line in links) == sorted(addresses)
    dead = {link.url for archive in load_card("nyud").archives for link in archive.links if link.state == "dead"}
    assert {line.partition(": ")[2] for line in links if line.startswith("dead link: ")} == dead


def test_google_drive_is_asked_by_gdown_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def download(**options: object) -> None:
        asked.append(options)
        Path(str(options["output"])).write_bytes(b"no archive")

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    said: list[str] = []
    with pytest.raises(DataError, match=r"NYUD_MT\.tgz"):  # what came is no archive
        fetch(load_card("nyud"), tmp_path, build="npy-480x640", archive=None, say=said.append)
    assert asked[0]["id"] == "14EAEMXmd3zs2hIMY63UhHPSFPDAkiTzw"
    assert (asked[0]["quiet"], asked[0]["resume"]) == (True, True)
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError, match="no archive could be downloaded"):
        fetch(load_card("nyud"), tmp_path, build="npy-480x640", archive=None, say=said.append)
    assert "pip install 'mtl-harness[drive]'" in said[-1]
