"""The file of per-image values that ``harness run`` and ``harness score`` leave next to a record."""

import json
from pathlib import Path

import pytest

from harness.files import sha256_of
from harness.records import Record, find_records, read_record, write_record
from harness.tasks.per_image import PER_IMAGE_NAME, PerImage, read_per_image


@pytest.fixture
def mini(golden: Path) -> tuple[object, ...]:
    """Options of a run on two images, without costs."""
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    return (*data, "--iterations", 2, "--probe", "none", "-o", "out")


def result(folder: str) -> tuple[Record, Path]:
    [record] = find_records(Path(folder))
    return record, Path(folder) / record.run_id


def values_of(record: Record, folder: Path) -> PerImage:
    assert record.per_image is not None
    path = folder / record.per_image.file
    assert record.per_image.sha256 == sha256_of(path)
    values = read_per_image(path)
    assert record.per_image.images == len(values.ids)
    return values


@pytest.mark.parametrize("profile", ["invpt", "mtinet"])
def test_run_and_score_write_values_that_give_the_record(harness, mini, profile: str) -> None:
    options = ("--protocol", profile, "--save-predictions", "p")
    ran = harness("run", "-m", "multi-task", *mini, *options)
    assert ran.code == 0, ran.err
    record, folder = result("out")
    values = values_of(record, folder)
    assert values.metrics() == record.metrics
    assert values.ids == ["0002", "0009"]
    assert not list(folder.rglob(".*.tmp"))
    scored = harness("score", "p", *mini[:4], "--protocol", profile, "-o", "scored")
    assert scored.code == 0, scored.err
    other, place = result("scored")
    again = values_of(other, place)
    assert again.metrics() == other.metrics
    assert again.ids == values.ids


def test_predictions_that_are_missing_are_no_zeros(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini, "--save-predictions", "p").code == 0
    (Path("p") / "depth" / "0009.npy").unlink()
    assert harness("score", "p", *mini[:4], "-o", "scored").code == 3
    record, folder = result("scored")
    values = values_of(record, folder)
    assert values.metrics() == record.metrics
    assert values.tasks["depth"].present.tolist() == [True, False]
    assert values.tasks["semseg"].present.all()


def test_a_finished_run_of_before_is_left_as_it_is_and_an_unfinished_one_gets_them(harness, mini) -> None:
    command = ("run", "-m", "multi-task", *mini)
    assert harness(*command).code == 0
    record, folder = result("out")
    (folder / PER_IMAGE_NAME).unlink()
    record.per_image = None
    write_record(record, folder)
    assert "per_image" not in json.loads((folder / "record.json").read_text())
    assert harness(*command).code == 0
    assert not (folder / PER_IMAGE_NAME).exists()
    assert harness("table", "out").code == 0
    record.status = "partial"
    write_record(record, folder)
    assert harness(*command).code == 0
    assert values_of(read_record(folder), folder).metrics() == record.metrics


def test_a_run_from_the_start_replaces_them(harness, mini) -> None:
    command = ("run", "-m", "multi-task", *mini)
    assert harness(*command).code == 0
    _, folder = result("out")
    (folder / PER_IMAGE_NAME).write_bytes(b"old")
    assert harness(*command, "--overwrite", "always").code == 0
    assert values_of(*result("out")).metrics() == result("out")[0].metrics


def test_table_leaderboard_and_gate_use_them(harness, mini) -> None:
    assert harness("run", "-m", "single-task", "multi-task", *mini).code == 0
    plain = harness("table", "out")
    assert "(±" not in plain.out
    table = harness("table", "out", "--ci")
    assert table.code == 0, table.err
    assert "(±" in table.out
    assert "interval over images" in table.out
    wide = harness("table", "out", "--ci", "--style", "wide", "-f", "json")
    [content] = json.loads(wide.out)
    assert all("low" in row["boundary_ap"] for row in content["rows"])
    pages = harness("leaderboard", "out", "-o", "site")
    assert pages.code == 0, pages.err
    assert "(±" in Path("site/index.html").read_text()
    assert harness("leaderboard", "out", "-o", "site", "--no-ci").code == 0
    assert "(±" not in Path("site/index.html").read_text()
    gate = harness("compare", "out", "out", "--tolerance", "semseg=0.5@95", "--all")
    assert gate.code == 0, gate.err
    assert "interval of the loss over 2 images" in gate.out
    assert harness("compare", "out", "out", "--tolerance", "macs=1@95").code == 2
