"""``harness compare`` as a user runs it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from harness.records import Record, find_records, write_record

ROOT = Path(__file__).resolve().parents[2]
TINY = ("-d", "nyud-synth", "-b", "vit-micro", "--input-size", "32x48", "--device", "cpu")
SHORT = ("--min-iterations", 1, "--min-seconds", 0.01, "--max-seconds", 0.05)


@pytest.fixture
def base(harness) -> Path:
    """Costs of two methods."""
    assert (
        harness("bench", "-m", "single-task", "multi-task", *TINY, "--probe", "macs", "storage", "-o", "base").code == 0
    )
    return Path("base")


def changed(base: Path, change: Callable[[Record], object], head: str = "head") -> Path:
    """Copy a results folder and change the record of multi-task."""
    shutil.copytree(base, head)
    [record] = [record for record in find_records(Path(head)) if record.method.name == "multi-task"]
    change(record)
    write_record(record, Path(head) / record.run_id)
    return Path(head)


def one_mac(record: Record) -> None:
    assert record.macs is not None
    record.macs.executed.mean += 1


def one_byte(record: Record) -> None:
    assert record.storage is not None
    record.storage.artifact_bytes += 1


def test_measuring_again_changes_nothing(harness, base: Path) -> None:
    again = ("bench", "-m", "multi-task", "single-task", *TINY, "--probe", "macs", "storage", "-o", "head")
    assert harness(*again).code == 0
    result = harness("compare", base, "head")
    assert result.code == 0
    assert result.out == "8 values of 2 rows: 8 same\nno regression\n"
    assert "MACs executed" in harness("compare", base, "head", "--all").out


@pytest.mark.parametrize(("change", "name", "kind"), [(one_mac, "MACs", "macs"), (one_byte, "Artifact", "bytes")])
def test_one_mac_or_one_byte_more_is_exit_code_1(harness, base: Path, change, name: str, kind: str) -> None:
    head = changed(base, change)
    result = harness("compare", base, head)
    assert result.code == 1
    assert name in result.out
    assert "1 regression\n" in result.out
    assert harness("compare", head, base).code == 0, "less is none"
    assert harness("compare", base, head, "--tolerance", f"latency=7%,{kind}=1").code == 0


def test_a_removed_row_fails_unless_it_is_allowed_and_an_added_one_passes(harness, base: Path) -> None:
    head = changed(base, lambda record: None)
    shutil.rmtree(next(head.glob("*/single-task*")))
    result = harness("compare", base, head)
    assert (result.code, "single-task" in result.out, "removed" in result.out) == (1, True, True)
    assert harness("compare", base, head, "--allow-removed").code == 0
    added = harness("compare", head, base)
    assert (added.code, "added" in added.out) == (0, True)


def test_every_format_says_the_same(harness, base: Path) -> None:
    head = changed(base, one_mac)
    Path("summary.md").write_text("before\n")
    markdown = harness("compare", base, head, "-f", "md", "--junit", "out/junit.xml", "--summary", "summary.md")
    assert markdown.code == 1
    assert Path("summary.md").read_text() == "before\n" + markdown.out
    [case] = [case for case in ET.parse("out/junit.xml").iter("testcase") if case.find("failure") is not None]
    assert case.get("name") == "MACs executed"
    told = json.loads(harness("compare", base, head, "-f", "json").out)
    assert (told["failed"], told["failures"]) == (True, ["multi-task (nyud-synth, vit-micro): MACs executed regressed"])
    assert harness("compare", base, head, "-f", "md").out == markdown.out


def test_two_records_of_one_command_are_compared_whatever_their_methods(harness) -> None:
    assert (
        harness("bench", "-m", "single-task", "multi-task", *TINY, *SHORT, "--probe", "latency", "-o", "out").code == 0
    )
    multi, single = (record.run_id for record in find_records(Path("out")))
    result = harness("compare", f"out/{single}", f"out/{multi}/record.json", "-f", "json")
    [row] = json.loads(result.out)["rows"]
    assert row["label"] == "single-task (nyud-synth, vit-micro) → multi-task (nyud-synth, vit-micro)"
    assert [figure["key"] for figure in row["figures"]] == ["params.total", "latency.batch1"]
    assert harness("compare", f"out/{multi}", f"out/{multi}").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "BASE nowhere: no such file or folder"),
        (("empty",), "BASE empty: holds no record.json"),
        (("broken",), "damaged or of another schema version"),
        (("base", "--tolerance", "mac=1"), "did you mean macs"),
        (("base", "--tolerance", "macs"), "expected KIND=AMOUNT"),
        (("base", "--tolerance", "macs=-1"), "not below 0"),
        (("base", "--tolerance", "macs=nan"), "not below 0"),
        (("base", "--tolerance", "latency=0.05"), "give it in percent"),
        (("base", "--tolerance", "macs=1,macs=2"), "given twice"),
        (
            ("base", "--summary", "nowhere/summary.md"),
            "nowhere/summary.md: cannot be written (No such file or directory)",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(harness, arguments, message: str) -> None:
    shutil.copytree(ROOT / "results" / "baseline", "base")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/record.json").write_text("{}")
    result = harness("compare", *arguments, "base") if len(arguments) == 1 else harness("compare", "base", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_the_committed_baseline_holds_what_it_is_renewed_with() -> None:
    folder = ROOT / "results" / "baseline"
    config = yaml.safe_load((folder / "bench.yaml").read_text())
    records = list(find_records(folder))
    assert sorted(record.method.name for record in records) == sorted(config["method"])
    for record in records:
        assert (record.status, record.latency, record.device) == ("complete", [], "cpu")
        assert record.macs is not None
        assert record.storage is not None
        assert record.harness.git_dirty is False
    assert sum(path.stat().st_size for path in folder.rglob("*.json")) < 30_000
