"""The papers' table and the gain, from records with known figures."""

from pathlib import Path

import pytest
from records import origin, record

from harness.records import Gain, read_record, write_record
from harness.records.gain import fill_gains
from harness.report.formats import markdown
from harness.report.table import build_table

SINGLE = (0.40, 0.60, 20.0, 0.76)
MULTI = (0.44, 0.57, 21.0, 0.76)
"""Relative gains 10 %, 5 %, -5 % and 0 %: 2.5 % on average."""


def test_cells_are_in_the_papers_units_and_order() -> None:
    table = build_table([record("single-task", SINGLE, delta_m=Gain(value=0.0, reference="r"))])
    assert list(table.frame.columns) == [
        "Method",
        "Backbone",
        "SemSeg mIoU ↑",
        "Depth RMSE ↓",
        "Normals mErr ↓",
        "Boundary odsF ↑",
        "Δm % ↑",
        "Params M ↓",
        "Artifact MB ↓",
        "n",
    ]
    [row] = table.frame.to_dict("records")
    assert list(row.values()) == [
        "single-task",
        "vit-micro",
        "40.00",
        "0.6000",
        "20.00",
        "76.00",
        "+0.00",
        "1.50",
        "6.00",
        "1",
    ]


def test_seeds_are_averaged_with_their_sample_deviation() -> None:
    runs = [record("m", (value, 1.0, 1.0, 1.0), seed=seed) for seed, value in enumerate((0.1, 0.2, 0.3))]
    [row] = build_table(runs).frame.to_dict("records")
    assert row["SemSeg mIoU ↑"] == "20.00 ± 10.00"
    assert row["Depth RMSE ↓"] == "1.0000", "no deviation where all seeds agree"
    assert row["n"] == "3"


def test_an_empty_cell_is_a_dash_and_its_reason_a_note() -> None:
    table = build_table([record("m", (0.1, None, 1.0, 1.0))])
    [row] = table.frame.to_dict("records")
    assert row["Depth RMSE ↓"] == "–"
    assert any("Depth" in note and "not measured" in note for note in table.notes)


def test_the_caption_names_synthetic_data_and_the_conditions() -> None:
    text = markdown.render([build_table([record("m", SINGLE)])])
    for words in ("nyud-synth", "synthetic", "png-106x140", "32 of 32", "112x144", "invpt", "quick", "measured"):
        assert words in text


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": {"depth_pool": "image"}},
        {"source": "reported", "reported": origin()},
        {"budget": "full"},
        {"input_size": (448, 576)},
        {"precision": "bf16"},
    ],
)
def test_records_made_under_different_conditions_share_no_table(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must share"):
        build_table([record("a", SINGLE), record("b", SINGLE, **change)])


def written(folder: Path, *records: object) -> None:
    for one in records:
        write_record(one, folder / one.run_id)  # type: ignore[attr-defined,arg-type]


def test_the_gain_is_the_mean_relative_gain_over_the_single_task_record(tmp_path: Path) -> None:
    single, multi = record("single-task", SINGLE), record("multi-task", MULTI)
    written(tmp_path, single, multi)
    fill_gains([single, multi], tmp_path)
    held = read_record(tmp_path / multi.run_id).delta_m
    assert held is not None
    assert held.value == pytest.approx(2.5)
    assert held.reference == single.run_id
    assert single.delta_m is not None
    assert single.delta_m.value == 0


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"budget": "full"}, {"protocol": {"depth_pool": "image"}}, {"status": "partial"}],
)
def test_only_a_single_task_record_of_the_same_kind_is_a_reference(change: dict[str, object], tmp_path: Path) -> None:
    single, multi = record("single-task", SINGLE, **change), record("multi-task", MULTI)
    written(tmp_path, single, multi)
    fill_gains([multi], tmp_path)
    assert multi.delta_m is not None
    assert multi.delta_m.value is None
    assert "run -m single-task too" in str(multi.delta_m.reason)


def test_a_missing_figure_makes_the_gain_null_with_the_reason(tmp_path: Path) -> None:
    single, multi = record("single-task", SINGLE), record("multi-task", (0.44, 0.57, 21.0, None))
    written(tmp_path, single, multi)
    fill_gains([multi], tmp_path)
    assert multi.delta_m is not None
    assert multi.delta_m.value is None
    assert "boundary" in str(multi.delta_m.reason)
