"""``harness leaderboard`` as a user runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from many_records import many_records

from harness.records import write_record

Harness = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for record in many_records(1)[:6]:
        write_record(record, tmp_path / "results" / record.run_id)
    return tmp_path / "results"


def test_a_site_is_built_twice_with_the_same_bytes(harness: Harness, results: Path, tmp_path: Path) -> None:
    done = harness("leaderboard", results, "-o", "one", "--title", "Ours & theirs")
    assert done.code == 0, done.err
    assert done.out.strip() == str(Path("one") / "index.html")
    assert harness("leaderboard", results, "-o", "two", "--title", "Ours & theirs").code == 0
    first = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    second = {path.relative_to(tmp_path / "two"): path.read_bytes() for path in (tmp_path / "two").rglob("*.*")}
    assert first == second
    assert b"<h1>Ours &amp; theirs</h1>" in first[Path("index.html")]


def test_an_older_site_is_replaced_and_other_folders_are_refused(harness: Harness, results: Path) -> None:
    assert harness("leaderboard", results, "-o", "site").code == 0
    assert harness("leaderboard", results, "-o", "site").code == 0
    refused = harness("leaderboard", results, "-o", results)
    assert refused.code == 2
    assert "no file of a site" in refused.err
    assert len(refused.err.splitlines()) == 1


def test_reported_figures_need_no_results(harness: Harness, tmp_path: Path) -> None:
    assert harness("leaderboard", "--published", "-o", "site").code == 0
    assert "PRISM" in (tmp_path / "site" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give folders of results"),
        (("nowhere",), "does not exist"),
        (("empty",), "no record.json below empty"),
        (("damaged",), "damaged or of another schema version"),
        (("empty", "-y", "beauty"), "beauty"),
    ],
)
def test_bad_input_is_told_in_words(harness: Harness, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{}")
    done = harness("leaderboard", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "site").exists()
