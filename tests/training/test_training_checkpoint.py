"""Checkpoints of a training: what they keep, where they lie, and what is said of damaged ones."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_methods import PROBLEM, data, method
from training_setups import training_setup

from harness.errors import UsageError
from harness.training import checkpoint as checkpoints
from harness.training import loop
from harness.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["data"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("data", ["nyud"], indirect=True)
@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_resumed_training_keeps_the_losses_of_the_stages_before(
    dies_at: int, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = method("single-task")
    stages = [replace(stage, iterations=2) for stage in subject.stages(data.problem, "quick")][:3]

    def trained(folder: Path) -> list[object]:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        return loop.train(subject.build(data.problem), stages, training_setup(data, folder))

    expected = trained(tmp_path / "undisturbed")
    save = loop.save_checkpoint

    def save_and_die(path: Path, content: Checkpoint) -> None:
        save(path, content)
        if content.stage == dies_at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            trained(tmp_path / "killed")
    assert trained(tmp_path / "killed") == expected
    assert all(log.final_loss is not None for log in expected)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"stage": 1, "iteration": 5, "state": {"model": {}}}, path)
    held = load_checkpoint(path)
    assert held is not None
    assert (held.stage, held.iteration, held.losses) == (1, 5, [])


@pytest.mark.parametrize("content", [bytes(100), b"", b"PK\x03\x04" + bytes(50), b"\x80\x02X.", b"text"])
def test_a_damaged_checkpoint_is_told_without_advice_to_unpickle(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "is damaged" in message
    assert "--overwrite always" in message
    assert "\n" not in message
    for advice in ("weights_only", "pickle", "trust"):
        assert advice not in message


def test_a_smuggled_pickle_is_told_without_advice_to_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"stage": 0, "iteration": 0, "state": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(UsageError, match="is damaged") as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value)


def test_tensors_of_a_checkpoint_are_read_into_the_memory_of_the_cpu(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Checkpoint(0, 1, {"model": {"weight": torch.ones(2)}}))
    places = []
    load = torch.load
    monkeypatch.setattr(
        checkpoints.torch, "load", lambda *a, **k: (places.append(str(k["map_location"])), load(*a, **k))[1]
    )
    load_checkpoint(path)
    assert places == ["cpu"]


@pytest.mark.parametrize("data", ["nyud"], indirect=True)
def test_a_resumed_checkpoint_is_let_go(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = method("multi-task")
    torch.manual_seed(0)
    model = subject.build(data.problem)
    stages = [replace(stage, iterations=1) for stage in subject.stages(data.problem, "quick")]
    loop.train(model, stages, training_setup(data, tmp_path))
    resumed = [replace(stage, iterations=2) for stage in stages]
    held = []
    load = loop.load_checkpoint
    monkeypatch.setattr(loop, "load_checkpoint", lambda path: held.append(load(path)) or held[-1])
    loop.train(model, resumed, training_setup(data, tmp_path))
    gc.collect()
    assert held[0].state == {}
    assert PROBLEM is not None
