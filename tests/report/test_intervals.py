"""Intervals over images in tables, on pages and in the gate."""

import json
from pathlib import Path
from typing import Any

import pytest
from records import record
from scenes import SPECS, counted

from harness.compare import Tolerances, compare_pair
from harness.errors import UsageError
from harness.leaderboard.boards import build_boards
from harness.leaderboard.entries import Entry
from harness.protocol import Protocol
from harness.records import Record, write_record
from harness.records.load import Stored
from harness.records.reference import with_gains
from harness.report.cells import ALIKE
from harness.report.formats import FORMATS
from harness.report.intervals import Intervals, NoIntervalError
from harness.report.table import build_table
from harness.tasks import bootstrap
from harness.tasks.images import ImageMeter
from harness.tasks.per_image import PER_IMAGE_NAME, PerImage

IMAGES = list(range(1, 9))


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.intervals.draws_of", lambda images: bootstrap.draws_of(images, 200))


def stored(
    folder: Path, method: str, seed: int = 0, images: list[int] = IMAGES, tasks: tuple[str, ...] = ("depth", "normals")
) -> Stored:
    """Write a record with per-image values; methods differ a little, seeds less."""
    protocol = Protocol()
    values = PerImage(protocol, [f"{image:03d}" for image in images])
    for name in tasks:
        meter = counted(name, protocol, images)
        if method != "single-task" or seed:
            for sums in meter._rows.get("errors", []) + meter._rows.get("degrees", []):
                sums *= 1.001 + 0.0001 * seed if method == "alike" else 1.5 + 0.01 * seed
        values.take(SPECS[name], meter)
    place = folder / "nyud-synth" / f"{method}.seed{seed}"
    place.mkdir(parents=True)
    made = record(method, seed=seed)
    made.metrics = values.metrics()
    made.per_image = values.write(place)
    write_record(made, place)
    return Stored(made, place / "record.json")


def renewed(entries: list[Stored]) -> list[Record]:
    return with_gains([entry.record for entry in entries])


def test_a_table_shows_both_spreads_and_what_is_not_worse_for_certain(tmp_path: Path) -> None:
    entries = [stored(tmp_path, *what) for what in (("single-task",), ("alike",), ("worse", 0), ("worse", 1))]
    records = renewed(entries)
    plain = build_table(records)
    table = build_table(records, intervals=Intervals(entries))
    cells = [row.cells["depth_rmse"] for row in table.rows]
    for cell, before in zip(cells, (row.cells["depth_rmse"] for row in plain.rows), strict=True):
        assert (cell.value, cell.std, cell.mark) == (before.value, before.std, before.mark)
        assert cell.low < cell.value < cell.high
        assert before.low is None
    worse = cells[-1]
    assert worse.n == 1 or worse.std is not None
    text = FORMATS["md"]([table])
    assert "(±" in text
    assert "interval over images" in text
    assert "standard deviation over seeds" in text
    latex = FORMATS["latex"]([table])
    assert "{\\scriptsize ($\\pm$" in latex
    [content] = json.loads(FORMATS["json"]([table]))
    assert {"low", "high"} <= content["rows"][0]["depth_rmse"].keys()
    assert content["conditions"]["intervals"]["over"] == "images"
    assert "depth_rmse_m_low" in FORMATS["csv"]([table]).splitlines()[0]


def test_the_gain_is_paired_and_far_narrower_than_its_parts(tmp_path: Path) -> None:
    entries = [stored(tmp_path, "single-task"), stored(tmp_path, "alike")]
    _, alike = renewed(entries)
    intervals = Intervals(entries)
    gain = intervals.gain(alike)
    assert gain.value == pytest.approx(alike.delta_m.value)
    found, depth = gain.interval(), intervals.metric(alike, "depth", "rmse").interval()
    assert found is not None
    assert depth is not None
    assert found.half < 0.01 < 100 * depth.half
    own = intervals.gain(renewed(entries)[0])
    assert own.interval() == bootstrap.Interval(0.0, 0.0)


def test_seeds_are_averaged_within_a_draw(tmp_path: Path) -> None:
    entries = [stored(tmp_path, "worse", seed) for seed in (0, 1)]
    intervals = Intervals(entries)
    samples = [intervals.metric(entry.record, "depth", "rmse") for entry in entries]
    mean = intervals.mean([entry.record for entry in entries], lambda one: intervals.metric(one, "depth", "rmse"))
    assert mean.value == pytest.approx((samples[0].value + samples[1].value) / 2)
    assert mean.draws == pytest.approx((samples[0].draws + samples[1].draws) / 2)


def test_equal_values_are_marked_and_the_order_of_images_does_not_matter(tmp_path: Path) -> None:
    one = stored(tmp_path / "a", "single-task")
    other = stored(tmp_path / "b", "single-task", images=IMAGES[::-1])
    samples = [Intervals([entry]).metric(entry.record, "depth", "rmse") for entry in (one, other)]
    assert samples[0].images == samples[1].images
    assert samples[0].draws.tolist() == pytest.approx(samples[1].draws.tolist())
    assert ALIKE == "≈"


def without_file(entry: Stored) -> None:
    (entry.path.parent / PER_IMAGE_NAME).unlink()


def changed(entry: Stored) -> None:
    again = PerImage(Protocol(), ["a", "b"])
    meter = counted("depth", Protocol(), [1, 2])
    again.take(SPECS["depth"], meter)
    again.write(entry.path.parent)


@pytest.mark.parametrize(("damage", "message"), [(without_file, "no such file"), (changed, "it was changed")])
def test_a_file_that_is_not_the_records_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    entry = stored(tmp_path, "single-task")
    damage(entry)
    with pytest.raises(UsageError, match=message):
        Intervals([entry]).metric(entry.record, "depth", "rmse")


def test_records_of_before_and_other_images_are_said_in_one_line(tmp_path: Path) -> None:
    old = stored(tmp_path / "a", "single-task")
    old.record.per_image = None
    with pytest.raises(NoIntervalError, match="no per-image values"):
        Intervals([old]).metric(old.record, "depth", "rmse")
    table = build_table([old.record], intervals=Intervals([old]))
    assert any("no per-image values" in note for note in table.notes)
    fewer = stored(tmp_path / "b", "single-task", images=IMAGES[:-2])
    whole = stored(tmp_path / "c", "alike")
    ours, theirs = (Intervals([entry]).metric(entry.record, "depth", "rmse") for entry in (fewer, whole))
    with pytest.raises(NoIntervalError, match="the images differ: 6 and 8, of which 2 are in one alone, first 007"):
        ours.less(theirs)
    single = stored(tmp_path / "d", "single-task", images=IMAGES[:1])
    with pytest.raises(NoIntervalError, match="takes 2 or more, 1 here"):
        Intervals([single]).metric(single.record, "depth", "rmse")
    with pytest.raises(NoIntervalError, match="semseg"):
        Intervals([whole]).metric(whole.record, "semseg", "miou")


def test_a_reference_beside_the_record_is_found(tmp_path: Path) -> None:
    entries = [stored(tmp_path, "single-task"), stored(tmp_path, "alike")]
    _, alike = renewed(entries)
    assert Intervals(entries[1:]).gain(alike).interval() is not None


def test_boards_show_intervals_and_say_where_there_is_none(tmp_path: Path) -> None:
    entries = [stored(tmp_path, what) for what in ("single-task", "alike", "worse")]
    records = renewed(entries)
    records[2].per_image = None
    pages = [Entry(one, entry.path.parent) for one, entry in zip(records, entries, strict=True)]
    [board] = build_boards(pages, Intervals([Stored(one.record, one.folder / "record.json") for one in pages]))
    place = next(index for index, column in enumerate(board.columns) if column.key == "depth")
    texts = {row.record.method.name: board.text(row, place) for row in board.rows}
    assert "(±" in texts["single-task"]
    assert "(±" not in texts["worse"]
    assert any("interval of worse: no per-image values" in note for note in board.notes)
    [plain] = build_boards(pages)
    assert not any("interval" in note for note in plain.notes)


def gate(base: Stored, head: Stored, tolerance: str) -> dict[str, Any]:
    comparison = compare_pair(base, head, Tolerances.parse([tolerance]))
    figures = {figure.key: figure for row in comparison.rows for figure in row.figures}
    return {"depth": figures["metrics.depth"], "failed": comparison.failed, "json": comparison.to_json()}


def test_the_gate_asks_for_certainty(tmp_path: Path) -> None:
    base, worse, alike = (stored(tmp_path, what) for what in ("single-task", "worse", "alike"))
    found = gate(base, worse, "depth=0.001@95,normals=90")
    assert found["depth"].verdict == "regressed"
    assert found["failed"]
    assert found["depth"].loss.low > 0.001
    assert found["depth"].loss.images == len(IMAGES)
    assert found["depth"].tolerance == "0.001 at 95 %"
    assert '"loss"' in found["json"]
    assert gate(worse, base, "depth=0.001@95")["depth"].verdict == "improved"
    assert gate(base, alike, "depth=0.5@95")["depth"].verdict == "within"
    assert gate(base, base, "depth=0@95")["depth"].verdict == "same"
    plain = gate(base, worse, "depth=0.001,normals=90")
    assert plain["depth"].loss is None
    assert '"loss"' not in plain["json"]


def test_a_gate_that_cannot_be_certain_does_not_pass(tmp_path: Path) -> None:
    base, head = stored(tmp_path / "a", "single-task"), stored(tmp_path / "b", "single-task", images=IMAGES[::-1])
    head.record.per_image = None
    found = gate(base, head, "depth=0.5@95")
    assert found["depth"].verdict == "incomparable"
    assert found["failed"]
    assert "@95: no per-image values" in found["depth"].reason


@pytest.mark.parametrize("text", ["semseg=0.5@", "semseg=0.5@30", "semseg=0.5@100", "semseg=0.5@x", "semseg=@95"])
def test_a_level_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the amount must be"):
        Tolerances.parse([text])


@pytest.mark.parametrize("text", ["macs=0@95", "latency=5%@95"])
def test_costs_have_no_interval_over_images(text: str) -> None:
    with pytest.raises(UsageError, match="metrics and tasks alone"):
        Tolerances.parse([text])


def test_the_meters_of_the_scenes_are_image_meters() -> None:
    assert isinstance(counted("depth", Protocol(), IMAGES), ImageMeter)
