"""Costs in the papers' table and in the table of costs, from records with known figures."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from records import record

from harness.records import DatasetInfo, Record
from harness.records.costs import Conditions, Energy, Latency, Macs, PairedRatio, Parameters, Sampling, Spread
from harness.report.costs import as_csv, cost_rows, cost_tables
from harness.report.table import build_table

SCORES = (0.4, 0.6, 20.0, 0.7)
QUIET = Conditions(load_average=0.1)


def latency(
    p50_ms: float,
    batch_size: int = 1,
    ratio: float | None = None,
    disturbed: tuple[str, ...] = (),
    reference: str = "r",
) -> Latency:
    sampling = Sampling(warmup=3, clock="perf_counter", session="s", rounds=[1], other_cores=0.0)
    paired = None if ratio is None else PairedRatio(reference=reference, ratio=ratio, low=ratio, high=ratio, rounds=1)
    return Latency.of(
        [p50_ms],
        batch_size=batch_size,
        precision="fp32",
        threads=2,
        sampling=sampling,
        paired=paired,
        before=QUIET,
        after=QUIET,
        disturbed=list(disturbed),
    )


def macs(executed: float) -> Macs:
    spread = Spread.of([executed])
    return Macs(dense=spread, executed=spread, per_part={}, per_task={}, elementwise_outputs=0)


def costed(name: str = "m", **changes: Any) -> Record:
    figures = {"macs": macs(1.25e9), "latency": [latency(12.5, ratio=0.5)], "environment": {"cpu": "a fine CPU"}}
    return record(name, SCORES, **(figures | changes))


def bench(name: str = "m", batch_size: tuple[int, ...] = (1,), **changes: Any) -> Record:
    dataset = DatasetInfo.without_images("nyud", synthetic=False, images=0)
    costs = {"dataset": dataset, "metrics": {}, "budget": None, "config": {"batch_size": list(batch_size)}}
    return costed(name, **(costs | {"run_id": f"nyud/{name}.bench"} | changes))


def test_costs_have_columns_of_their_own_where_a_method_has_them() -> None:
    columns = ["Δm % ↑", "MACs G ↓", "Params M ↓", "Artifact MB ↓", "Latency ms ↓", "Latency × ↓", "n"]
    table = build_table([costed()])
    assert list(table.frame.columns)[6:] == columns
    [row] = table.frame.to_dict("records")
    assert [row[column] for column in columns] == ["–", "1.25", "1.50", "6.00", "12.50", "0.50", "1"]
    assert "latency at batch size 1 on a fine CPU, 2 threads" in table.caption
    plain = build_table([record("m", SCORES)])
    assert not {"MACs G ↓", "Latency ms ↓", "Latency × ↓"} & set(plain.frame.columns)
    assert "latency" not in plain.caption


def test_a_missing_cost_is_a_dash_and_its_reason_a_note() -> None:
    table = build_table([costed("a"), costed("b", latency=[], macs=None, unmeasured={"latency": "no clock"})])
    row = table.frame.iloc[1]
    assert (row["MACs G ↓"], row["Latency ms ↓"], row["Latency × ↓"]) == ("–", "–", "–")
    assert "Latency ms of b: no clock" in table.notes
    assert "MACs G of b: not measured" in table.notes


def test_trainable_parameters_have_a_column_where_a_recipe_freezes_some() -> None:
    """A record from before the count, and one whose recipe failed, have a dash and a reason."""
    counts = {
        "all": {"trainable": 1_500_000},
        "few": {"trainable": 250_000},
        "failed": {"reason": "no labels"},
        "old": {},
    }
    records = [
        costed(name, parameters=Parameters(total=1_500_000, per_part={}, **known)) for name, known in counts.items()
    ]
    table = build_table(records)
    assert list(table.frame["Trainable M ↓"]) == ["1.50", "0.25", "–", "–"]
    assert "Trainable M of failed: no labels" in table.notes
    assert "Trainable M of old: the record is older than this count" in table.notes
    assert "Trainable M ↓" not in build_table([records[0], records[3]]).frame.columns
    [costs] = cost_tables([bench("a"), bench("few", parameters=records[1].parameters)])
    assert list(costs.frame["Trainable M ↓"]) == ["–", "0.25"]


def test_a_seed_that_was_not_timed_needs_no_reason() -> None:
    second = costed(seed=1, latency=[], unmeasured={"latency": "seed 0 stands for all seeds"})
    table = build_table([costed(), second])
    assert table.frame["Latency ms ↓"].item() == "12.50"
    assert not any("seed 0" in note for note in table.notes)


def test_a_disturbed_latency_is_told() -> None:
    table = build_table([costed(latency=[latency(1.0, disturbed=("the fan fell off",))])])
    assert any("the fan fell off" in note for note in table.notes)


def test_latencies_stand_at_the_smallest_batch_size_only() -> None:
    table = build_table([costed("a", latency=[latency(1.0), latency(8.0, 8)]), costed("b", latency=[latency(9.0, 8)])])
    assert list(table.frame["Latency ms ↓"]) == ["1.00", "–"]


@pytest.mark.parametrize("change", [{"system_id": "other"}, {"environment": {"cpu": "another CPU"}}])
def test_latencies_of_several_machines_share_no_column(change: dict[str, Any]) -> None:
    table = build_table([costed("a"), costed("b", **change)])
    assert "Latency ms ↓" not in table.frame.columns
    assert list(table.frame["MACs G ↓"]) == ["1.25", "1.25"]
    assert any("several machines" in note for note in table.notes)


def test_costs_alone_have_a_row_for_each_batch_size_and_only_the_columns_that_are_filled() -> None:
    energy = Energy(joules_per_image=None, reason="no counter")
    one = bench("a", (1, 8), latency=[latency(10.0, ratio=1.0)], energy=energy, unmeasured={"latency": "8 is too many"})
    [table] = cost_tables([one, bench("b")])
    assert list(table.frame["Method"]) == ["a", "a", "b"]
    assert list(table.frame["Latency ms ↓"]) == ["10.00", "–", "12.50"]
    assert "J/image ↓" not in table.frame.columns
    assert "tasks of nyud" in table.caption
    for text in ("no counter", "8 is too many"):
        assert any(text in note for note in table.notes)


def test_costs_of_several_machines_and_data_sets_are_tables_of_their_own() -> None:
    assert len(cost_tables([bench("a"), bench("b"), bench("c", system_id="other")])) == 2
    with pytest.raises(ValueError, match="must share"):
        build_table([bench("a"), bench("b", system_id="other")])


def test_rows_are_flat_with_flops_twice_the_macs(tmp_path: Path) -> None:
    [row] = cost_rows(bench(unmeasured={"ceilings": "no room"}), tmp_path)
    assert (row["macs"], row["flops"]) == (1.25e9, 2.5e9)
    assert row["record"] == str(tmp_path / "nyud" / "m.bench" / "record.json")
    assert row["latency_p50_ms"] == 12.5
    assert row["floor_multiple"] is None
    assert row["unmeasured"]["floor"] == "it follows from the probes macs and ceilings, taken with the latency"
    assert {key for key, value in row.items() if isinstance(value, dict)} == {"options", "unmeasured"}
    columns = as_csv([row]).splitlines()[0].split(",")
    assert columns == list(row)


def test_ratios_to_different_references_do_not_share_a_column() -> None:
    """Without a single-task net on its encoder, a method is timed against whatever else runs on it."""
    reference = costed("single-task", latency=[latency(20, ratio=1.0, reference="nyud-synth/single-task.seed0")])
    ours = costed("ours", latency=[latency(10, ratio=0.5, reference="nyud-synth/single-task.seed0")])
    other = costed("other", latency=[latency(30, ratio=1.0, reference="nyud-synth/other.seed0")])
    cells = build_table([reference, ours, other]).frame["Latency × ↓"]
    assert list(cells) == ["1.00", "0.50", "–"]


def test_no_cell_of_the_csv_of_costs_is_a_formula(tmp_path: Path) -> None:
    text = as_csv(cost_rows(bench("=1+1", warnings=["@x", "\x1b[31m"]), tmp_path))
    [row] = list(csv.DictReader(io.StringIO(text)))
    assert (row["method"], row["warnings"]) == ("'=1+1", "'@x; \N{REPLACEMENT CHARACTER}[31m")
    assert "\x1b" not in text
