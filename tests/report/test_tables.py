"""Tables from records: what stands in one table, what is marked, what gains are against, and what is said below."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import metric, origin, record

from harness.errors import UsageError
from harness.records import Gain, Record, conditions
from harness.records.costs import (
    Conditions,
    Latency,
    Macs,
    Parameters,
    Sampling,
    Sparsity,
    Spread,
    Storage,
)
from harness.records.literature import published_records
from harness.records.reference import with_gains
from harness.report.cells import Column, Number
from harness.report.grid import Notes, Row, Table, mark
from harness.report.table import build_table, build_tables

SINGLE, MULTI = (0.40, 0.60, 20.0, 0.76), (0.44, 0.57, 21.0, 0.76)


def reported(method: str, values: tuple[float | None, ...] = MULTI, **changes: Any) -> Record:
    return record(method, values, **({"source": "reported", "reported": origin(), "seed": None} | changes))


def marks(values: Sequence[float | None], better: str = "higher", decimals: int = 2) -> list[str | None]:
    column = Column("x", "X", better, "unit", decimals=decimals, ranked=True)  # type: ignore[arg-type]
    rows = [Row({"x": None if value is None else Number(value)}) for value in values]
    cells = [row.cells["x"] for row in mark([column], rows)]
    return [cell.mark if isinstance(cell, Number) else None for cell in cells]


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([1.0, 3.0, 2.0], "higher", [None, "best", "second"]),
        ([1.0, 3.0, 2.0], "lower", ["best", None, "second"]),
        ([1.0], "higher", [None]),
        ([1.0, 2.0], "higher", [None, "best"]),
        ([2.0, 1.0, 2.0], "higher", ["best", "second", "best"]),
        ([1.001, 1.002, 0.5], "higher", ["best", "best", "second"]),
        ([None, 1.0, None], "higher", [None, None, None]),
        ([None, 1.0, 2.0], "lower", [None, "best", None]),
        ([1.0, 1.0, 1.0], "lower", [None, None, None]),
    ],
)
def test_the_best_and_second_best_of_a_column_are_marked(
    values: list[float | None], better: str, expected: list[str | None]
) -> None:
    assert marks(values, better) == expected


@given(st.lists(st.none() | st.floats(-100, 100), max_size=6), st.sampled_from(["higher", "lower"]))
def test_what_is_marked_best_is_never_beaten_as_shown(values: list[float | None], better: str) -> None:
    found = marks(values, better)
    shown = [None if value is None else round(value, 2) for value in values]
    held = [value for value in shown if value is not None]
    assert ("best" in found) == (len(set(held)) > 1)
    for value, place in zip(shown, found, strict=True):
        assert (place == "best") == (len(set(held)) > 1 and value == (max(held) if better == "higher" else min(held)))


def marked(table: Table, key: str) -> list[str | None]:
    return [cell.mark if isinstance(cell, Number) else None for cell in (row.cells.get(key) for row in table.rows)]


def test_the_direction_of_a_column_is_that_of_its_task() -> None:
    table = build_table([record("a", SINGLE), record("b", MULTI)])
    assert marked(table, "semseg_headline") == [None, "best"]
    assert marked(table, "depth_headline") == [None, "best"]
    assert marked(table, "normals_headline") == ["best", None]
    assert marked(table, "boundary_headline") == [None, None]


def test_gains_over_different_backbones_are_not_ranked() -> None:
    gains = [Gain(value=value, reference="r") for value in (1.0, 2.0)]
    one, two = (record(name, MULTI, delta_m=gain) for name, gain in zip("ab", gains, strict=True))
    assert marked(build_table([one, two]), "delta_m") == [None, "best"]
    other = two.model_copy(update={"method": two.method.model_copy(update={"backbone": "vit-b16"})})
    assert marked(build_table([one, other]), "delta_m") == [None, None]


def test_what_sources_print_of_costs_and_gains_is_not_ranked() -> None:
    rows = [
        reported(name, reported=origin(gflops=gflops, delta_m_percent=gflops, parameters_m=gflops, latency_ms=gflops))
        for name, gflops in (("a", 1.0), ("b", 2.0))
    ]
    [table] = build_tables(rows)
    for key in ("printed_gflops", "printed_delta_m", "printed_parameters", "printed_latency"):
        assert marked(table, key) == [None, None]


SOURCES = st.sampled_from(["measured", "reported"])
MIXED = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["single-task", "multi-task", "share"]),
        "source": SOURCES,
        "differs": st.sampled_from([None, "at 224x224"]),
        "protocol": st.sampled_from([{}, {"depth_pool": "image"}]),
        "input_size": st.sampled_from([(112, 144), (448, 576)]),
        "budget": st.sampled_from(["quick", "full"]),
        "precision": st.sampled_from(["fp32", "bf16"]),
        "seed": st.integers(0, 1),
        "synthetic": st.booleans(),
    }
)


def mixed(content: dict[str, Any], number: int) -> Record:
    one = record(
        content["method"],
        MULTI,
        run_id=f"d/{number}",
        source=content["source"],
        reported=origin(differs=content["differs"]) if content["source"] == "reported" else None,
        **{key: content[key] for key in ("protocol", "input_size", "budget", "precision", "seed")},
    )
    dataset = {"synthetic": content["synthetic"], "name": "nyud-synth" if content["synthetic"] else "nyud"}
    one.dataset = one.dataset.model_copy(update=dataset)
    return one


@settings(max_examples=60, deadline=None)
@given(st.lists(MIXED, min_size=1, max_size=8))
def test_no_table_mixes_what_cannot_be_compared(contents: list[dict[str, Any]]) -> None:
    records = {f"d/{number}": mixed(content, number) for number, content in enumerate(contents)}
    tables = build_tables(list(records.values()))
    shown = [run_id for table in tables for row in table.rows for run_id in row.facts["run_ids"]]
    assert sorted(shown) == sorted(records), "each record stands in one row of one table"
    for table in tables:
        held = [records[run_id] for row in table.rows for run_id in row.facts["run_ids"]]
        assert len({conditions(one) for one in held}) == 1
        [synthetic] = {one.dataset.synthetic for one in held}
        [source] = {one.source for one in held}
        [differs] = {one.reported.differs if one.reported else None for one in held}
        assert (differs is not None) == all("‡" in row.label() for row in table.rows)
        assert table.facts["source"] == source
        assert (source == "reported") == all("†" in row.label() for row in table.rows)
        assert ("(synthetic" in table.caption) == synthetic
        for row in table.rows:
            alike = [records[run_id] for run_id in row.facts["run_ids"]]
            assert len({one.seed for one in alike}) == len(alike), "only seeds are averaged"
            assert source == "measured" or len(alike) == 1


def test_records_of_one_seed_that_differ_unseen_are_rows_of_their_own() -> None:
    first, second = record("m", SINGLE), record("m", MULTI, run_id="nyud-synth/m.seed0.abcd1234")
    table = build_table([first, second])
    assert list(table.frame["n"]) == ["1", "1"]
    assert list(table.frame["Method"]) == ["m run=seed0", "m run=abcd1234"]


def test_settings_that_differ_stand_behind_the_name() -> None:
    rows = []
    for number, share in enumerate((0.1, 0.2)):
        one = record("share", MULTI, run_id=f"d/{number}")
        one.method.options = {"rows": share, "mode": "gated"}
        rows.append(one)
    assert list(build_table(rows).frame["Method"]) == ["share rows=0.1", "share rows=0.2"]


def gains(records: Sequence[Record], reference: str | None = None) -> dict[str, float | None]:
    return {one.run_id: one.delta_m.value if one.delta_m else None for one in with_gains(records, reference)}


def test_gains_are_taken_against_the_reference_method_or_the_row_that_is_named() -> None:
    records = [record("single-task", SINGLE), record("multi-task", MULTI), record("multi-task", MULTI, seed=1)]
    assert gains(records) == {
        "nyud-synth/single-task.seed0": 0.0,
        "nyud-synth/multi-task.seed0": pytest.approx(2.5),
        "nyud-synth/multi-task.seed1": None,
    }
    against = 100 * ((0.40 - 0.44) / 0.44 + (0.57 - 0.60) / 0.57 + (21 - 20) / 21) / 4
    assert gains(records, "multi-task") == {
        "nyud-synth/single-task.seed0": pytest.approx(against),
        "nyud-synth/multi-task.seed0": 0.0,
        "nyud-synth/multi-task.seed1": 0.0,
    }
    assert gains(records, "nyud-synth/single-task.seed0")["nyud-synth/multi-task.seed1"] == pytest.approx(2.5)


def test_a_stored_gain_stays_where_its_reference_is_not_at_hand() -> None:
    one = record("multi-task", MULTI, delta_m=Gain(value=1.5, reference="elsewhere/single-task"))
    assert gains([one]) == {one.run_id: 1.5}
    assert "Δm against elsewhere/single-task" in build_table([one]).caption


def test_the_caption_names_the_reference() -> None:
    [table] = build_tables(with_gains([record("single-task", SINGLE), record("multi-task", MULTI)]))
    assert "Δm against single-task (vit-micro)" in table.caption
    assert table.facts["delta_m_references"] == ["nyud-synth/single-task.seed0"]


def test_a_reference_under_other_conditions_gives_no_gain() -> None:
    records = [record("single-task", SINGLE, budget="full"), record("multi-task", MULTI)]
    [_, multi] = with_gains(records, "single-task")
    assert multi.delta_m is not None
    assert multi.delta_m.value is None
    assert "under these conditions" in str(multi.delta_m.reason)


def test_a_name_that_fits_several_records_is_refused() -> None:
    records = [record("share", MULTI, run_id=f"d/{number}") for number in range(2)]
    with pytest.raises(UsageError, match="name one: d/0 or d/1"):
        with_gains(records, "share")


def test_published_rows_take_another_reference_when_it_is_named() -> None:
    rows = {one.run_id: one.delta_m for one in with_gains(published_records(), "nyud/reported.invpt-vit-b")}
    invpt, share = (
        rows[f"nyud/reported.{name}"]
        for name in ("invpt-vit-b", "efficient-computation-sharing-ecs-shoouri-et-al-vit-b")
    )
    assert invpt is not None
    assert invpt.value == 0
    assert share is not None
    assert share.value == pytest.approx(
        100
        * ((50.46 - 50.30) / 50.30 + (0.5367 - 0.5332) / 0.5367 + (19.00 - 18.42) / 19.00 + (77.89 - 77.60) / 77.60)
        / 4
    )


def test_the_published_tables_stand_apart_with_sources_and_marks() -> None:
    tables = build_tables(with_gains([record("single-task", SINGLE), *published_records()]))
    assert [table.facts["source"] for table in tables] == ["measured"] + ["reported"] * (len(tables) - 1)
    assert sum(len(table.rows) for table in tables) == 164
    for table in tables[1:]:
        assert "not measured here" in table.caption
        assert any(note.startswith("†1 reported") for note in table.notes)
        assert all(row.signs[0].startswith("†") for row in table.rows)
    [m2h] = [table for table in tables if any(row.cells["method"] == "M2H" for row in table.rows)]
    assert [row.cells["method"] for row in m2h.rows] == ["M2H-small", "M2H"]
    assert all("‡" in row.signs for row in m2h.rows)
    assert "known to differ" in m2h.caption


def test_the_papers_columns_are_in_the_papers_order() -> None:
    tables = build_tables(published_records())
    headings = [[column.heading for column in table.columns][3:9] for table in tables]
    assert [
        "SemSeg mIoU ↑",
        "Depth RMSE ↓",
        "Normals mErr ↓",
        "Boundary odsF ↑",
        "Δm % ↑",
        "Printed Δm % ↑",
    ] in headings
    assert [
        *("SemSeg mIoU ↑", "Parsing mIoU ↑", "Saliency maxF ↑", "Normals mErr ↓", "Boundary odsF ↑", "Δm % ↑")
    ] in headings


def test_saliency_by_mean_iou_is_another_column_and_table_than_by_maxf() -> None:
    for table in build_tables(published_records()):
        keys = {column.key for column in table.columns}
        assert not {"saliency_miou", "saliency_maxf"} <= keys


def test_the_style_share_tells_what_each_task_has_of_its_own() -> None:
    sparsity = {
        "semseg": Sparsity(weight_density=1, active_rows=1),
        "depth": Sparsity(weight_density=0.08, active_rows=0.2),
    }
    storage = Storage(artifact_bytes=6_000_000, per_file={}, marginal_bytes={"depth": 250_000})
    records = [record("share", MULTI, sparsity=sparsity, storage=storage), record("single-task", SINGLE)]
    paper, shares = build_tables(records, "share")
    assert [row.cells["method"] for row in paper.rows] == ["single-task", "share"]
    [depth] = [row for row in shares.rows if (row.cells["method"], row.cells["task"]) == ("share", "Depth")]
    assert [row.text(column) for row in [depth] for column in shares.columns] == [
        *("share", "vit-micro", "Depth", "8.00", "20.00", "0.25", "1")
    ]
    assert len(shares.rows) == 2, "a task that no record tells of has no row"
    assert build_tables([record("single-task", SINGLE)], "share")[1:] == []


def test_the_style_wide_has_all_metrics_and_costs() -> None:
    one = record("m", SINGLE, parameters=Parameters(total=1, per_part={}))
    one.metrics["depth"]["log_rmse"] = metric(0.2, "log m", False)
    headings = [column.heading for column in build_table([one], "wide").columns]
    assert headings[2:5] == ["SemSeg mIoU ↑", "Depth RMSE ↓", "Depth log_rmse ↓"]
    assert "Depth log_rmse ↓" not in build_table([one]).frame.columns


def test_a_reason_is_told_once_with_the_rows_it_concerns() -> None:
    notes = Notes(["a", "b", "c"])
    for name, load in (("a", "2.5"), ("b", "7.0"), ("c", "3.1")):
        notes.add("latency", f"the load average was {load} on 2 cores", name)
    notes.add("latency", "the GPU lowered its clocks", "b")
    notes.add("latency", "the GPU lowered its clocks", "c")
    assert notes.lines() == [
        "latency: the load average was 2.5 to 7.0 on 2 cores",
        "latency of b, c: the GPU lowered its clocks",
    ]


def test_notes_name_the_backbone_where_a_method_has_several() -> None:
    tables = build_tables(published_records())
    [lacking] = [note for note in tables[0].notes if "no single-task values on this backbone" in note]
    assert "SAK (ViT-S)" in lacking
    assert "SAK (ViT-B)" not in lacking
    assert "PRISM-lite," in lacking


def timed(name: str, p50_ms: float, session: str, batch_size: int = 1) -> Latency:
    quiet = Conditions(load_average=0.1)
    sampling = Sampling(warmup=1, clock="perf_counter", session=session, rounds=[1], other_cores=0.0)
    return Latency.of([p50_ms], batch_size=batch_size, precision="fp32", sampling=sampling, before=quiet, after=quiet)


def test_latencies_are_ranked_within_one_session_and_others_are_marked() -> None:
    sessions = {"a": (3.0, "s"), "b": (2.0, "s"), "c": (1.0, "t"), "d": (4.0, "s")}
    rows = [record(name, MULTI, latency=[timed(name, *found)]) for name, found in sessions.items()]
    table = build_table(rows, "wide")
    for key in ("latency_p50", "latency_p95"):
        assert marked(table, key) == ["second", "best", None, None]
    assert [row.text(column) for row in table.rows for column in table.columns if column.key == "latency_p50"] == [
        *("3.00", "2.00", "1.00 §", "4.00")
    ]
    assert sum(note.startswith("§ timed in another session") for note in table.notes) == 1
    alone = build_table(rows[:2])
    assert not any("§" in text for text in [*alone.notes, *alone.frame.to_numpy().ravel()])


def test_a_mean_over_several_sessions_is_marked() -> None:
    rows = [record("a", MULTI, seed=seed, latency=[timed("a", 1.0, f"s{seed}")]) for seed in (0, 1)]
    rows.append(record("b", MULTI, latency=[timed("b", 2.0, "s0")]))
    table = build_table(rows)
    assert [str(text).endswith("§") for text in table.frame["Latency ms ↓"]] == [True, False]


def test_costs_of_bench_are_marked_within_one_batch_size() -> None:
    def costs(name: str, *latencies: Latency) -> Record:
        one = record(name, (), run_id=f"nyud/{name}", latency=list(latencies), config={"batch_size": [1, 8]})
        one.dataset = one.dataset.model_copy(update={"fingerprint": None})
        return one

    both = [(timed(name, 1.0, "s"), timed(name, 8.0, "t", 8)) for name in "ab"]
    [table] = build_tables([costs("a", *both[0]), costs("b", *both[1]), costs("c", timed("c", 1.0, "u"))])
    assert list(table.frame["Latency ms ↓"]) == ["1.00", "8.00", "1.00", "8.00", "1.00 §", "–"]


def test_gains_over_the_reference_of_another_document_are_marked() -> None:
    tables = build_tables(published_records())
    signs = [cell.sign for table in tables for row in table.rows for cell in row.cells.values() if shows_sign(cell)]
    assert signs == ["¶"] * 12
    notes = [note for table in tables for note in table.notes if note.startswith("¶ ")]
    assert len(notes) == 3
    assert all("another document prints: " in note for note in notes)


def shows_sign(cell: object) -> bool:
    return isinstance(cell, Number) and bool(cell.sign)


def test_the_caption_says_how_many_images_of_the_split_were_scored() -> None:
    one = record("m", SINGLE)
    one.dataset = one.dataset.model_copy(update={"n_evaluated": 2, "n_expected": 654})
    assert "2 of 654 val images" in build_table([one]).caption


def test_a_short_run_next_to_a_whole_one_names_its_steps() -> None:
    whole, short = record("m", SINGLE), record("m", MULTI, run_id="d/short", config={"iterations": 5, "limit": 2})
    table = build_table([whole, short])
    assert list(table.frame["Method"]) == ["m", "m iterations=5 limit=2"]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_cost_that_is_no_finite_number_is_a_dash_with_its_reason(value: float) -> None:
    # Reading refuses such values; a caller of the Python API may set them still.
    def costed(method: str, values: tuple[float, ...], executed: float) -> Record:
        spread = Spread.model_construct(mean=executed, p50=executed, p95=executed, n=1)
        macs = Macs.model_construct(
            dense=spread, executed=spread, per_part={}, per_task={}, elementwise_outputs=executed
        )
        return record(method, values).model_copy(update={"macs": macs})

    table = build_table([costed("a", SINGLE, 1e9), costed("b", MULTI, value)])
    assert list(table.frame["MACs G ↓"]) == ["1.00", "–"]
    assert f"MACs G of b: the record has {value}" in table.notes
