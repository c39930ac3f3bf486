"""Trainings in parts: equal to the serial ones, bit for bit, for every method whose stages stand side by side."""

import json
from pathlib import Path

import pytest
from torch import Tensor

from harness.config import RunConfig
from harness.errors import MethodError
from harness.recipe import Stage
from harness.run import run
from harness.run.matrix import parts_to_train
from harness.run.train import PARTS
from harness.training.loop import _StageRun
from harness.training.parts import Kept, join, parts_of


def settings(golden: Path, out: Path, method: str, **changes: object) -> RunConfig:
    fields = {"method": [method], "dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "iterations": 1}
    fields |= {"task": ["semseg", "depth", "normals"], "probe": ["none"], "output": out, "quiet": True, "device": "cpu"}
    return RunConfig(**(fields | changes))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "artifact").iterdir())}


@pytest.mark.parametrize(
    ("method", "options", "names"),
    [
        ("single-task", {}, [("0-semseg", 0), ("1-depth", 0), ("2-normals", 0)]),
        ("share", {"accuracy_budget": None}, [("0-semseg", 0), ("1-gates-depth", 1), ("5-gates-normals", 1)]),
        ("share", {"engine": "corrections"}, [("0-semseg", 0), ("1-depth", 1), ("2-normals", 1)]),
    ],
)
def test_parts_side_by_side_are_the_serial_training_bit_for_bit(
    golden: Path, tmp_path: Path, method: str, options: dict[str, object], names: list[tuple[str, int]]
) -> None:
    config = settings(golden, tmp_path / "parts", method, set=options)
    [parts] = parts_to_train(config).values()
    assert [(part.name, len(part.before)) for part in parts] == names
    # The last part before the others that it does not need: the order of independent ones changes nothing.
    for part in [parts[0], *reversed(parts[1:])]:
        assert run(config, part=part.name).records == []
    [joined] = run(config).records
    [serial] = run(settings(golden, tmp_path / "serial", method, set=options)).records
    assert joined.run_id == serial.run_id
    ours, theirs = tmp_path / "parts" / joined.run_id, tmp_path / "serial" / serial.run_id
    assert files(ours) == files(theirs)
    assert joined.training == serial.training
    assert joined.metrics == serial.metrics
    assert joined.sparsity == serial.sparsity
    assert not (ours / PARTS).exists()
    trained = [json.loads(line) for line in (ours / "events.jsonl").read_text().splitlines()]
    assert {event["stage"] for event in trained if event["event"] == "train"} == {one.name for one in serial.training}
    assert parts_to_train(config) == {}, "nothing is left to train"


def test_a_part_goes_on_where_it_was_ended_and_the_cell_trains_those_that_are_left(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(golden, tmp_path / "parts", "single-task", task=["semseg", "depth"], iterations=4)
    original = _StageRun._look

    def look(self: _StageRun, loss: Tensor, iteration: int) -> float:
        if iteration == 3:
            raise RuntimeError("the power is off")
        return original(self, loss, iteration)

    with monkeypatch.context() as patched:
        patched.setattr(_StageRun, "_look", look)
        with pytest.raises(MethodError, match="the power is off"):
            run(config.model_copy(update={"save_every": 0.0}), part="1-depth")
    [left] = tmp_path.rglob("checkpoint.pt")
    assert left.parent.name == "1-depth"
    [joined] = run(config).records
    [serial] = run(settings(golden, tmp_path / "serial", "single-task", task=["semseg", "depth"], iterations=4)).records
    assert files(tmp_path / "parts" / joined.run_id) == files(tmp_path / "serial" / serial.run_id)
    assert joined.training == serial.training
    with pytest.raises(MethodError, match="has no part 7-x; its parts are 0-semseg, 1-depth"):
        run(config.model_copy(update={"seed": [1]}), part="7-x")


def test_stages_without_after_are_one_part() -> None:
    stages = [Stage(name, ("depth",), 1, 1) for name in "abc"]
    assert [part.name for part in parts_of(stages)] == ["0-a"]
    extended = [Stage("sub", ("depth",), 1, 1, after=("base",)), Stage("other", ("depth",), 1, 1, after=("base",))]
    assert [part.before for part in parts_of(extended)] == [(), ()], "the base was trained before"
    diamond = [
        Stage("a", ("depth",), 1, 1, after=()),
        Stage("b", ("depth",), 1, 1, after=("a",)),
        Stage("c", ("depth",), 1, 1, after=("a",)),
        Stage("d", ("depth",), 1, 1),
    ]
    assert [part.before for part in parts_of(diamond)] == [(), ("0-a",), ("0-a",), ("0-a", "1-b", "2-c")]


def test_stages_that_change_the_same_weights_are_not_joined() -> None:
    parts = parts_of([Stage("a", ("depth",), 1, 1, after=()), Stage("b", ("depth",), 1, 1, after=())])
    kept = {part.name: Kept({"w": 1}, []) for part in parts}
    with pytest.raises(MethodError, match="stages a and b both change w"):
        join(None, parts, kept)  # type: ignore[arg-type]
