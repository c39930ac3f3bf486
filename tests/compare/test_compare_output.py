"""What a comparison looks like: golden files, and names that try to be markup."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from records import record
from rich.console import Console
from timed import macs, session, write

from harness.compare import Comparison, Tolerances, compare
from harness.compare.junit import to_junit
from harness.compare.markdown import to_markdown
from harness.compare.screen import print_comparison
from harness.records.costs import Storage
from harness.report.text import printable

WRITERS = {
    "compare.md": to_markdown,
    "compare-all.md": lambda comparison: to_markdown(comparison, everything=True),
    "compare.json": lambda comparison: comparison.to_json() + "\n",
    "compare.xml": to_junit,
}


def comparison(folder: Path) -> Comparison:
    """Compare two folders with a change of every kind."""
    scores = (0.4, 0.6, 20.0, 0.7)
    environments = [{"environment": {"packages": {"torch": version}}} for version in ("2.12", "2.13")]
    base = [
        record("share", scores, macs=macs(1000), **environments[0]),
        record("retired", scores),
        record("moved", scores, protocol={"depth_pool": "pixel"}),
        *session(1),
    ]
    head = [
        record(
            "share",
            (0.398, 0.5995, None, 0.75),
            macs=macs(1001, ideal=900),
            storage=Storage(artifact_bytes=6_000_001, per_file={}),
            **environments[1],
        ),
        record("new", scores),
        record("moved", scores, protocol={"depth_pool": "image"}),
        *session(2, factor=1.15),
    ]
    sides = (write(folder / "base", *base), write(folder / "head", *head))
    return compare(*sides, Tolerances.parse(["latency=5%"]))


@pytest.mark.parametrize("name", WRITERS)
def test_the_output_is_the_golden_file_and_the_same_to_the_byte_in_two_runs(
    name: str, golden: Path, tmp_path: Path
) -> None:
    first, second = (WRITERS[name](comparison(tmp_path / run)) for run in ("one", "two"))
    assert first == second
    expected = (golden / "compare" / name).read_text(encoding="utf-8")
    if name.endswith("json"):  # unrounded, and the last bit of a logarithm is not the same on every CPU
        assert rounded(first) == rounded(expected)
    else:
        assert first == expected


def rounded(text: str) -> object:
    return json.loads(text, parse_float=lambda number: round(float(number), 9))


def test_the_json_states_the_test_and_what_fails(tmp_path: Path) -> None:
    told = json.loads(comparison(tmp_path).to_json())
    assert told["failed"] is True
    assert len(told["failures"]) == 8
    assert (told["latency_test"]["level"], told["latency_test"]["session_deviation"]) == (0.99, 0.015)
    [figure] = [f for row in told["rows"] for f in row["figures"] if f["kind"] == "latency" and f["slowdown"]]
    assert figure["verdict"] == "regressed"


def test_junit_counts_its_cases(tmp_path: Path) -> None:
    compared = comparison(tmp_path)
    root = ET.fromstring(to_junit(compared))
    cases = root.findall(".//testcase")
    assert root.attrib["tests"] == str(len(cases))
    assert len(root.findall(".//failure")) == len(compared.failures) == int(root.attrib["failures"])
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    assert len(root.findall(".//skipped")) == 1, "the reference's own latency"


def test_the_screen_shows_changes_and_all_on_demand(tmp_path: Path) -> None:
    console = Console(width=200, record=True, file=(tmp_path / "screen").open("w"))
    print_comparison(comparison(tmp_path), console)
    changes = console.export_text()
    for text in ("SemSeg mIoU", "regressed", "-0.20", "1,001", "removed", "added", "8 regressions", "× 1.1"):
        assert text in changes
    assert "Parameters" not in changes
    print_comparison(comparison(tmp_path), console, everything=True)
    assert "Parameters" in console.export_text()


NASTY = "a|b`*_[x](javascript:y)<script>&\"'\x1b[31m\x00\n\ufffe[red]"


def test_names_from_records_are_text_wherever_they_are_shown(tmp_path: Path) -> None:
    base, head = record(NASTY, (0.4,), run_id="n/a"), record(NASTY, (None,), run_id="n/a", failure=NASTY)
    head.metrics["semseg"]["headline"] = head.metrics["semseg"]["headline"].model_copy(update={"reason": NASTY})
    compared = compare(write(tmp_path / "b", base), write(tmp_path / "h", head), Tolerances.parse([]))
    shown = to_markdown(compared)
    assert "<script>" not in shown
    assert "[x](" not in shown.replace(r"\[x\](", "")
    [line] = [line for line in shown.splitlines() if "SemSeg" in line]
    assert line.replace(r"\|", "").count("|") == 8, "seven cells"
    [case] = [c for c in ET.fromstring(to_junit(compared)).iter("testcase") if "SemSeg" in str(c.get("name"))]
    label = printable(NASTY)
    assert case.get("classname") == f"{label} (nyud-synth, vit-micro)"
    assert "\x1b" not in label
    assert "\n" not in label
    console = Console(width=300, record=True, file=(tmp_path / "screen").open("w"))
    print_comparison(compared, console)
    told = console.export_text()
    assert "[red]" in told
    assert "\x1b" not in told
    json.loads(compared.to_json())
