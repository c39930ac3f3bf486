"""One answer to which records are one configuration, for tables, plots, the leaderboard and the gate."""

import json
from pathlib import Path
from typing import Any

import pytest
from records import record

from harness.leaderboard.boards import build_boards
from harness.leaderboard.entries import Entry
from harness.records import Record, UnreadableRecord, find_records, read_results, write_record
from harness.records.groups import configuration, groups_of
from harness.report.plot import scatter
from harness.report.table import build_table

VALUES = (0.5, 0.6, 20.0, 0.7)


def made(run: str, seed: int = 0, values: tuple[float | None, ...] = VALUES, **changes: Any) -> Record:
    """Return a record whose method has some fields changed."""
    method = changes.pop("method", {})
    found = record("multi-task", values, run_id=f"nyud-synth/{run}", seed=seed, **changes)
    return found.model_copy(update={"method": found.method.model_copy(update=method)})


def two_checkpoints() -> list[Record]:
    return [
        made(
            f"of-{name}",
            seed,
            (value, *VALUES[1:]),
            method={"init": "checkpoint", "checkpoint": f"{name}.pth sha256:{name * 16}"},
        )
        for name, seed, value in (("a", 0, 0.1), ("b", 1, 0.9))
    ]


def test_two_checkpoints_are_two_rows_of_a_table() -> None:
    table = build_table(two_checkpoints())
    assert list(table.frame["Method"]) == ["multi-task init=a.pth@aaaaaaaa", "multi-task init=b.pth@bbbbbbbb"]
    assert list(table.frame["n"]) == ["1", "1"]
    assert not any("±" in text for text in table.frame.to_numpy().ravel())


def started(backbone: str, digit: str, init: str = "pretrained") -> Record:
    """Return a record whose encoder starts from a file that this project made for it."""
    source = f"{backbone}.safetensors sha256:{digit * 16}" if init == "pretrained" else None
    return made(f"{backbone}-{digit}-{init}", method={"backbone": backbone, "init": init, "checkpoint": source})


def test_weights_that_follow_from_the_encoder_are_not_named() -> None:
    records = [started("vit-micro", "a"), started("swin-micro", "b")]
    assert list(build_table(records).frame["Method"]) == ["multi-task", "multi-task"]


def test_another_start_on_another_encoder_is_named() -> None:
    records = [started("vit-micro", "a"), started("swin-micro", "b", "random")]
    assert list(build_table(records).frame["Method"]) == ["multi-task init=pretrained", "multi-task init=random"]


def test_two_files_of_one_encoder_are_named() -> None:
    [one, other] = build_table([started("vit-micro", "a"), started("vit-micro", "b")]).frame["Method"]
    assert one == "multi-task weights=vit-micro.safetensors@aaaaaaaa"
    assert other == "multi-task weights=vit-micro.safetensors@bbbbbbbb"


def test_two_checkpoints_are_two_rows_of_the_leaderboard() -> None:
    [board] = build_boards([Entry(one) for one in two_checkpoints()])
    assert [row.seeds for row in board.rows] == [[0], [1]]
    assert [row.variant for row in board.rows] == [["init=a.pth@aaaaaaaa"], ["init=b.pth@bbbbbbbb"]]


def test_two_checkpoints_are_two_points_with_labels_of_their_own() -> None:
    points = scatter(two_checkpoints(), "parameters", "semseg").points
    assert [point.label for point in points] == ["multi-task init=a.pth@aaaaaaaa", "multi-task init=b.pth@bbbbbbbb"]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"checkpoint": "a.pth sha256:1"}},
        {"method": {"plugin": "other"}},
        {"method": {"options": {"rank": 8}}},
        {"method": {"backbone": "vit-b16"}},
        {"config": {"iterations": 5}},
        {"device": "cuda"},
    ],
    ids=str,
)
def test_whatever_a_user_chose_but_the_seed_makes_another_configuration(changes: dict[str, Any]) -> None:
    plain, same, other = made("p", 0), made("s", 1), made("o", 2, **changes)
    assert configuration(plain) == configuration(same) != configuration(other)
    assert [len(group.records) for group in groups_of([plain, same, other])] == [2, 1]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"iterations": 5}, "multi-task iterations=5"),
        ({"limit": 2}, "multi-task limit=2"),
        ({"init": "random"}, "multi-task init=random"),
        ({"set": {"rank": 4, "share.rows": 0.1}}, "multi-task rank=4"),
        ({"set": {"multi-task.rank": 4}}, "multi-task rank=4"),
        ({"iterations": None, "limit": None, "init": None, "set": {}}, "multi-task"),
    ],
)
def test_what_a_command_put_over_the_recipe_is_named_even_in_the_only_row(config: dict[str, Any], told: str) -> None:
    [group] = groups_of([made("r", config=config, method={"options": {"rank": 4}})])
    assert group.label == told


def test_a_short_run_is_told_from_a_whole_one_without_a_number_of_other_steps() -> None:
    stages = [{"name": "joint", "iterations": 340, "final_loss": 1.0}]
    whole = Record.model_validate(made("whole").model_dump() | {"training": stages})
    short = Record.model_validate(
        made("short", config={"iterations": 5}).model_dump()
        | {"training": [{"name": "joint", "iterations": 5, "final_loss": 1.0}]}
    )
    assert [group.label for group in groups_of([whole, short])] == ["multi-task", "multi-task iterations=5"]


def test_a_seed_without_a_value_counts_neither_in_the_mean_nor_in_n() -> None:
    seeds = [made("s0", 0), made("s1", 1, (None, *VALUES[1:])), made("s2", 2, (0.7, *VALUES[1:]))]
    table = build_table(seeds)
    row = table.rows[0]
    semseg = row.cells["semseg_headline"]
    assert (semseg.value, semseg.n) == (pytest.approx(0.6), 2)  # type: ignore[union-attr]
    assert row.cells["depth_headline"].n == 3  # type: ignore[union-attr]
    assert any("2 of 3 seeds" in note for note in table.notes)


def test_a_neighbours_record_that_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path) -> None:
    write_record(made("mine"), tmp_path / "mine")
    theirs = json.loads((tmp_path / "mine" / "record.json").read_text()) | {"schema_version": 99}
    for name, content in (("newer", json.dumps(theirs)), ("half", "{"), ("text", "\xff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(content, encoding="latin-1")
    with pytest.warns(UnreadableRecord) as warned:
        assert [one.run_id for one in find_records(tmp_path)] == ["nyud-synth/mine"]
    assert len(warned) == 3
    with pytest.warns(UnreadableRecord):
        assert len(read_results([tmp_path])) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": {"depth_pool": [1]}}, "protocol.depth_pool"),
        ({"protocol": {"depth_pool": {}}}, "protocol.depth_pool"),
        ({"metrics": {"depth": {}}}, "metrics.depth"),
    ],
    ids=str,
)
def test_a_record_that_cannot_be_compared_is_left_out_with_the_reason(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    content = json.loads(made("r").model_dump_json()) | changes
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "record.json").write_text(json.dumps(content))
    with pytest.warns(UnreadableRecord, match=told):
        assert list(find_records(tmp_path)) == []
