"""Equal stages trained once: taken over bit for bit, and only where everything they depend on is the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_methods import data, method
from torch import Tensor
from training_setups import training_setup

from harness.compute import seed_everything
from harness.method import MultiTaskModel, Optimizer, Stage
from harness.records import StageInfo
from harness.training import loop
from harness.training.stages import StageStore

__all__ = ["data"]

nyud = pytest.mark.parametrize("data", ["nyud"], indirect=True)


def trained(
    name: str, data, folder: Path, store: StageStore | None, stages: Sequence[Stage] | None = None
) -> tuple[MultiTaskModel, list[StageInfo]]:
    subject = method(name)
    seed_everything(0)
    model = subject.build(data.problem)
    if stages is None:
        stages = [replace(stage, iterations=2) for stage in subject.stages(data.problem, "quick")]
    folder.mkdir(exist_ok=True)
    return model, loop.train(model, stages, replace(training_setup(data, folder), store=store))


def under(model: MultiTaskModel, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in model.state_dict().items() if key.startswith(prefix)}


@nyud
def test_the_base_of_share_is_the_segmentation_network_of_single_task(data, tmp_path: Path) -> None:
    store = StageStore(tmp_path / "stages", {"seed": 0})
    nets, logs = trained("single-task", data, tmp_path / "a", store)
    shared, reused = trained("share", data, tmp_path / "b", store)
    alone, without = trained("share", data, tmp_path / "c", None)
    assert [log.reused for log in logs] == [False] * 4
    assert [log.reused for log in reused] == [True] + [False] * (len(reused) - 1)
    own, taken = under(nets, "nets.semseg.backbone."), under(shared, "base.")
    assert all(torch.equal(own[key], taken[key]) for key in own)
    # What follows is what it would have been.
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in shared.state_dict().items())
    assert [log.model_copy(update={"reused": False}) for log in reused] == without
    assert all(log.macs for log in reused), "effort counts all the same"


@nyud
def test_networks_trained_before_they_are_joined_are_shared(data, tmp_path: Path) -> None:
    store = StageStore(tmp_path / "stages", {})
    trained("cross-stitch", data, tmp_path / "a", store)
    _, logs = trained("nddr-cnn", data, tmp_path / "b", store)
    assert [log.reused for log in logs] == [True] * 4 + [False]


@nyud
@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 3},
        {"batch_size": 1},
        {"optimizer": Optimizer("adamw", lr=1e-3)},
        {"clip_norm": None},
        {"groups": ()},
        {"name": "other"},
        {"prepare": lambda model: None},
        {"network": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_recipe_is_another_stage(change: dict[str, object], data, tmp_path: Path) -> None:
    store = StageStore(tmp_path / "stages", {})
    stage = replace(method("single-task").stages(data.problem, "quick")[0], iterations=2)
    trained("single-task", data, tmp_path / "a", store, [stage])
    _, [log] = trained("single-task", data, tmp_path / "b", store, [replace(stage, **change)])
    assert not log.reused


@nyud
def test_other_origins_and_other_starts_are_other_stages(data, tmp_path: Path) -> None:
    stage = method("single-task").stages(data.problem, "quick")[0]
    model = method("single-task").build(data.problem)
    keys = {StageStore(tmp_path, origin).key(stage, model) for origin in ({"seed": 0}, {"seed": 1}, {"threads": 2})}
    with torch.no_grad():
        next(model.parameters()).add_(1)
    keys.add(StageStore(tmp_path, {"seed": 0}).key(stage, model))
    assert len(keys) == 4
    # Weights that the stage has nothing to do with are no part of it.
    before = StageStore(tmp_path, {}).key(stage, model)
    with torch.no_grad():
        next(model.nets["depth"].parameters()).add_(1)
    assert StageStore(tmp_path, {}).key(stage, model) == before


@nyud
@pytest.mark.parametrize("content", [b"", b"text", bytes(64)], ids=["empty", "text", "zeros"])
def test_a_damaged_file_is_trained_again(content: bytes, data, tmp_path: Path) -> None:
    store = StageStore(tmp_path / "stages", {})
    stages = [replace(method("single-task").stages(data.problem, "quick")[0], iterations=1)]
    model, _ = trained("single-task", data, tmp_path / "a", store, stages)
    [file] = store.folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    again, [log] = trained("single-task", data, tmp_path / "b", store, stages)
    assert not log.reused
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert file.read_bytes() == whole


@nyud
def test_an_interrupted_stage_is_kept_when_it_ends(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    stages = [replace(method("single-task").stages(data.problem, "quick")[0], iterations=3)]
    expected = trained("single-task", data, tmp_path / "undisturbed", None, stages)[1]
    store, step = StageStore(tmp_path / "stages", {}), loop._StageRun._step

    def dying(self: loop._StageRun, batch: object, iteration: int, *rest: object) -> Tensor:
        if iteration == 2:
            self._save(0, 2)
            raise Killed
        return step(self, batch, iteration, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop._StageRun, "_step", dying)
        with pytest.raises(Killed):
            trained("single-task", data, tmp_path / "killed", store, stages)
    assert not store.folder.exists()
    assert trained("single-task", data, tmp_path / "killed", store, stages)[1] == expected
    assert trained("share", data, tmp_path / "share", store, stages_of_share(data))[1][0].reused


def stages_of_share(data) -> list[Stage]:
    return [replace(method("share").stages(data.problem, "quick")[0], iterations=3)]
