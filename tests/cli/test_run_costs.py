"""Costs in ``harness run``: measured together, kept, and measured again only where they are lacking."""

import shutil
from pathlib import Path

import pytest

from harness.probes import macs
from harness.records import Record, find_records, write_record

PLUGIN = """
from harness.baselines.multi_task import MultiTask

class Late(MultiTask):
    name = "late"
    summary = "joins when the others are measured already"
"""


@pytest.fixture
def short(golden: Path) -> tuple[object, ...]:
    """Options of a run on the three-image NYUD-v2 that is as short as can be."""
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2", "-t", "semseg", "depth", "--device", "cpu")
    return (*data, "--iterations", 1, "--min-seconds", 0.01, "-o", "out")


@pytest.fixture
def timed(short) -> tuple[object, ...]:
    """The same with the probes that tests look at."""
    return (*short, "--probe", "macs", "ceilings", "latency")


def records() -> dict[str, Record]:
    return {record.run_id.partition(".")[0].removeprefix("nyud/"): record for record in find_records(Path("out"))}


def session(record: Record) -> str:
    [latency] = record.latency
    return latency.sampling.session


def test_methods_are_timed_in_turn_and_related_to_the_reference(harness, timed) -> None:
    result = harness("run", "-m", "multi-task", "single-task", *timed)
    assert result.code == 0, result.err
    for column in ("MACs G ↓", "Latency ms ↓", "Latency × ↓", "latency at batch size 1 on"):
        assert column in " ".join(result.out.split()), "captions are wrapped"
    single, multi = records()["single-task"], records()["multi-task"]
    assert session(single) == session(multi)
    assert multi.latency[0].paired.reference == single.run_id
    assert single.latency[0].paired.ratio == 1
    for record in (single, multi):
        assert record.latency[0].floor.floor_ms > 0
        assert record.latency[0].end_to_end.images_per_second > 0
        assert record.unmeasured == {}
        assert record.device == "cpu"


def test_what_is_known_is_not_measured_again(harness, timed, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("run", "-m", "multi-task", "single-task", *timed)
    assert harness(*command).code == 0
    before = records()
    monkeypatch.setattr("harness.probes.macs.measure_macs", lambda *_: pytest.fail("counted again"))
    monkeypatch.setattr("harness.measurement.interleaved.measure_latency", lambda *_: pytest.fail("timed again"))
    assert harness(*command).code == 0
    assert records() == before


def test_a_method_that_comes_later_is_timed_together_with_the_others(harness, timed, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(PLUGIN)
    assert harness("run", "-m", "single-task", *timed).code == 0
    alone = records()["single-task"]
    assert alone.latency[0].paired is None, "there was nothing to relate it to"
    assert harness("run", "-m", "single-task", "late", "--plugin", tmp_path / "late.py", *timed).code == 0
    single, late = records()["single-task"], records()["late"]
    assert session(alone) != session(single) == session(late)
    assert late.latency[0].paired.reference == single.run_id
    assert single.macs == alone.macs
    assert single.metrics == alone.metrics


def test_the_first_seed_stands_for_all_where_weights_do_not_matter(harness, timed) -> None:
    assert harness("run", "-m", "multi-task", "--seed", 3, 4, *timed).code == 0
    first, second = sorted(find_records(Path("out")), key=lambda record: record.seed)
    assert first.latency
    assert first.unmeasured == {}
    assert second.latency == []
    assert second.unmeasured == dict.fromkeys(("ceilings", "latency"), "seed 3 stands for all seeds")
    assert second.macs == first.macs


def test_a_probe_that_fails_takes_nothing_down_and_is_tried_again(harness, timed, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(macs, "measure_macs", fail)
        result = harness("run", "-m", "multi-task", *timed)
    assert result.code == 0
    assert "macs was not measured: MemoryError: no room" in result.err
    assert records()["multi-task"].unmeasured == {"macs": "MemoryError: no room"}
    assert harness("run", "-m", "multi-task", *timed).code == 0
    assert records()["multi-task"].unmeasured == {}
    assert records()["multi-task"].macs is not None


def test_costs_of_another_machine_are_measured_again_when_one_is_lacking(harness, timed) -> None:
    assert harness("run", "-m", "multi-task", *timed).code == 0
    record = records()["multi-task"]
    elsewhere = record.model_copy(update={"system_id": "elsewhere", "ceilings": None})
    write_record(elsewhere, Path("out") / record.run_id)
    assert harness("run", "-m", "multi-task", *timed).code == 0
    again = records()["multi-task"]
    assert again.system_id == record.system_id
    assert session(again) != session(record)
    assert any("the run was made on elsewhere" in warning for warning in again.warnings)


def test_no_probe_at_all(harness, short) -> None:
    result = harness("run", "-m", "multi-task", *short, "--probe", "none")
    assert (result.code, result.err) == (0, "")
    record = records()["multi-task"]
    assert (record.macs, record.storage, record.latency, record.unmeasured) == (None, None, [], {})
    assert "MACs G" not in result.out


def test_an_unknown_probe_is_refused_before_anything_runs(harness, short) -> None:
    result = harness("run", "-m", "multi-task", *short, "--probe", "latencyy")
    assert result.code == 2
    assert "did you mean latency" in result.err
    assert not Path("out").exists()


def test_a_record_whose_artifact_is_gone_keeps_its_costs(harness, timed, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(PLUGIN)
    assert harness("run", "-m", "single-task", *timed).code == 0
    before = records()["single-task"]
    shutil.rmtree(Path("out") / before.run_id / "artifact")
    result = harness("run", "-m", "single-task", "late", "--plugin", tmp_path / "late.py", *timed)
    assert result.code == 0
    assert records()["single-task"].latency == before.latency
    assert records()["late"].latency
    again = harness("run", "-m", "single-task", *timed, "--probe", "storage")
    assert (again.code, "is not here" in again.err) == (0, True)
