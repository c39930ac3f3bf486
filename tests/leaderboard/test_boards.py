"""Which records share a table and a row, and what the cells say."""

from typing import Any

import pytest
from many_records import many_records

from harness.leaderboard.boards import Board, build_boards
from harness.leaderboard.entries import Entry
from harness.leaderboard.fronts import fronts
from harness.records import DatasetInfo, Gain, Record
from harness.records.costs import Conditions, Latency, Sampling
from harness.records.literature import published_records


def boards(*records: Record) -> list[Board]:
    return build_boards([Entry(record) for record in records])


def changed(record: Record, **changes: Any) -> Record:
    return Record.model_validate(record.model_dump() | changes)


def column(board: Board, key: str) -> list[str]:
    index = [column.key for column in board.columns].index(key)
    return [board.text(row, index) for row in board.rows]


BASE = many_records(1)[0]


def test_every_data_set_and_source_has_a_table_of_its_own() -> None:
    known = boards(*many_records(1), *published_records())
    for board in known:
        records = [entry.record for row in board.rows for entry in row.entries]
        assert len({(record.source, record.dataset.name) for record in records}) == 1
    kinds = [(board.record.source, board.images) for board in known]
    assert kinds == sorted(kinds, key=[("measured", "real"), ("measured", "synthetic"), ("reported", "real")].index)
    assert sum(len(row.entries) for board in known for row in board.rows) == 100 + len(published_records())


@pytest.mark.parametrize(
    "change",
    [{"protocol": {"depth_pool": "image"}}, {"input_size": (1, 1)}, {"budget": "quick"}, {"precision": "bf16"}],
)
def test_different_conditions_share_no_table(change: dict[str, object]) -> None:
    assert len(boards(BASE, changed(BASE, run_id="other", **change))) == 2


def test_seeds_of_one_configuration_are_one_row() -> None:
    values = (0.10, 0.20, 0.30)
    seeds = []
    for seed, value in enumerate(values):
        metrics = {"semseg": {"miou": BASE.metrics["semseg"]["miou"].model_copy(update={"value": value})}}
        seeds.append(changed(BASE, seed=seed, run_id=f"r{seed}", metrics=metrics))
    [board] = boards(*reversed(seeds))
    [row] = board.rows
    assert column(board, "semseg") == ["20.00 ± 10.00"]
    assert row.seeds == [0, 1, 2]


def test_a_seed_that_was_run_twice_is_no_further_seed() -> None:
    [board] = boards(changed(BASE, run_id="d/m.once"), changed(BASE, run_id="d/m.again"))
    assert sorted(row.variant for row in board.rows) == [["run=again"], ["run=once"]]


def test_rows_of_one_method_are_told_apart_by_the_options_that_differ() -> None:
    method = BASE.method.model_dump()
    a, b = (
        changed(BASE, run_id=str(d), method=method | {"options": {"density": d, "base": "semseg"}}) for d in (0.1, 0.2)
    )
    [board] = boards(a, b)
    assert [row.variant for row in board.rows] == [["density=0.1"], ["density=0.2"]]


def test_tasks_stand_in_the_papers_order_with_arrows_and_metrics() -> None:
    nyud = boards(BASE)[0]
    assert [(one.title, one.detail, one.better) for one in nyud.columns[:5]] == [
        ("SemSeg", "mIoU %", "higher"),
        ("Depth", "RMSE m", "lower"),
        ("Normals", "mErr °", "lower"),
        ("Boundary", "odsF %", "higher"),
        ("Δm", "%", "higher"),
    ]
    pascal = boards(next(record for record in many_records(1) if record.dataset.name == "pascal-synth"))[0]
    assert [one.title for one in pascal.columns[:5]] == ["SemSeg", "Parsing", "Saliency", "Normals", "Boundary"]


def test_the_metric_of_a_column_is_the_one_that_was_scored() -> None:
    saliency = {
        one.detail for board in boards(*published_records()) for one in board.columns if one.title == "Saliency"
    }
    assert saliency == {"maxF %", "mIoU %"}


def test_missing_figures_are_dashes_with_their_reasons_and_come_last() -> None:
    gain = Gain(value=None, reference=None, reason="no single-task record")
    missing = changed(BASE, run_id="a", delta_m=gain, method=BASE.method.model_dump() | {"name": "a"}, macs=None)
    [board] = boards(missing, BASE)
    assert column(board, "delta_m") == ["+0.00", "–"]
    assert board.values(board.columns[4]) == [0.0, None]
    reasons = ["the boundary meter was left out", "no single-task record", "not measured"]
    assert board.notes == [f"Boundary: {reasons[0]}", f"Δm of a: {reasons[1]}", f"MACs of a: {reasons[2]}"]


def test_the_best_figure_of_a_column_is_marked_in_its_direction() -> None:
    known = boards(*many_records(1))[0]
    for index, one in enumerate(known.columns):
        values = [value for value in known.values(one) if value is not None]
        best = max(values) if one.better == "higher" else min(values)
        shown = {known.text(row, index) for row in known.rows if known.values(one)[known.rows.index(row)] == best}
        marked = {known.text(row, index) for row in known.rows if (cell := row.cells[index]) and cell.mark == "best"}
        assert marked == (shown if one.key != "delta_m" else set()), "gains of several backbones rank no rows"


def latency(milliseconds: float, **facts: Any) -> Latency:
    quiet = Conditions(load_average=0.1)
    sampling = Sampling(warmup=1, clock="perf_counter", session="s", rounds=[1], other_cores=0.0)
    state = {"precision": "fp32", "sampling": sampling, "before": quiet, "after": quiet}
    return Latency.of([milliseconds], **(state | {"batch_size": 1} | facts))


def test_latencies_of_several_machines_and_modes_share_no_column() -> None:
    here = changed(BASE, latency=[latency(10.0), latency(70.0, batch_size=8)])
    there = changed(BASE, run_id="there", seed=1, system_id="gpu", device="cuda", latency=[latency(1.0)])
    there = changed(there, environment={"gpu": "NVIDIA"})
    compiled = changed(BASE, run_id="fast", seed=2, latency=[latency(5.0, compiled="default")])
    [board] = boards(here, there, compiled)
    timed = [one for one in board.columns if one.title == "Latency"]
    assert [one.detail for one in timed] == [
        "ms, batch 1, AMD EPYC",
        "ms, batch 1, AMD EPYC, compiled default",
        "ms, batch 1, NVIDIA",
    ]
    shown = [sorted(value for value in board.values(one) if value is not None) for one in timed]
    assert shown == [[10.0], [5.0], [1.0]]


def test_latencies_of_another_session_are_marked_and_neither_ranked_nor_on_a_front() -> None:
    def timed(name: str, milliseconds: float, session: str) -> Record:
        sampling = Sampling(warmup=1, clock="perf_counter", session=session, rounds=[1], other_cores=0.0)
        method = BASE.method.model_dump() | {"name": name}
        return changed(BASE, run_id=name, method=method, latency=[latency(milliseconds, sampling=sampling)])

    [board] = boards(timed("a", 10.0, "s"), timed("b", 5.0, "s"), timed("c", 1.0, "t"))
    [index] = [index for index, one in enumerate(board.columns) if one.title == "Latency"]
    cells = {row.record.method.name: row.cells[index] for row in board.rows}
    assert {name: (cell.mark, cell.sign) for name, cell in cells.items() if cell} == {
        "a": (None, ""),
        "b": ("best", ""),
        "c": (None, "§"),
    }
    assert [note for note in board.notes if note.startswith("§ timed in another session")]
    [front] = [one for one in fronts(board, "delta_m") if "Latency" in one.title]
    assert "On the front: b." in front.text
    assert "§ timed in another session" in front.text


def test_gains_over_the_reference_of_another_document_are_marked() -> None:
    found = [(board, row) for board in boards(*published_records()) for row in board.rows]
    signs = [cell.sign for _, row in found for cell in row.cells if cell and cell.sign]
    assert signs == ["¶"] * 12
    assert sum(note.startswith("¶ ") for board in boards(*published_records()) for note in board.notes) == 3


def test_costs_alone_have_a_table_without_accuracy() -> None:
    data = DatasetInfo(**(BASE.dataset.model_dump() | {"fingerprint": None, "build": None, "split": None}))
    alone = changed(BASE, run_id="bench", dataset=data, metrics={}, delta_m=None)
    scored, costs = boards(alone, BASE)
    assert (scored.images, costs.images) == ("real", "random")
    assert [one.key for one in costs.columns] == ["macs", "parameters", "storage", "latency_ms"]
    assert list(fronts(costs, "delta_m")) == []


def test_unfinished_runs_stand_in_no_table() -> None:
    assert boards(changed(BASE, status="partial"), changed(BASE, status="failed")) == []


def test_reported_costs_are_shown_as_printed_and_never_ranked_or_drawn() -> None:
    board = boards(*published_records())[0]
    printed = [one for one in board.columns if one.key.startswith("printed_")]
    assert {"GFLOPs", "Params"} <= {one.title for one in printed}
    assert all(one.better is None for one in printed)
    cells = [row.cells[board.columns.index(one)] for one in printed for row in board.rows]
    assert not any(cell.mark for cell in cells if cell)
    [front] = fronts(board, "delta_m")
    assert front.svg is None
    assert "differently" in front.text


def test_a_picture_says_what_it_shows_or_what_is_missing() -> None:
    full = {front.title: front for front in fronts(boards(*many_records(1))[0], "delta_m")}
    assert full["Δm against MACs (G)"].svg is not None
    assert "rows. On the front: " in full["Δm against MACs (G)"].text
    assert full["Δm against MACs (G)"].text.endswith("the single-task row of each row's own backbone.")
    bare = changed(BASE, macs=None, latency=[])
    told = {front.title: front.text for front in fronts(boards(bare)[0], "delta_m")}
    assert told["Δm against MACs (G)"].endswith("of 1 here, none has: Δm for 1 and MACs for 0.")
    assert told["Δm against Latency"] == "No row of this table has a latency."


def test_a_picture_can_show_a_task_instead_of_the_gain() -> None:
    titles = [front.title for front in fronts(boards(*many_records(1))[0], "depth")]
    assert "Depth against MACs (G)" in titles
