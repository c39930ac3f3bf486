"""``--checkpoint FILE``: published checkpoints of whole methods, as training code saves them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.method import Method
from harness.problem import Problem, TaskSpec
from harness.records import Record, find_records
from harness.registry import load_method

MODEL = ("-m", "multi-task", "-b", "vit-micro")
PROBLEM = Problem(
    (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary", tolerance=0.011)), (48, 48)
)


def subject() -> Method:
    cls = load_method("multi-task")
    return cls(cls.Options(), "vit-micro")


def checkpoint(path: Path, **beside: object) -> dict[str, torch.Tensor]:
    """Save what a training script in parallel mode saves, and return the weights."""
    torch.manual_seed(3)
    state = subject().build(PROBLEM).state_dict()
    content = {"epoch": 3, "best_result": {"miou": np.float64(0.5), "n": np.int64(2)}, **beside}
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}, **content}, path)
    return state


def only_record() -> Record:
    [record] = find_records(Path("out"))
    return record


def test_is_scored_and_shipped_as_it_is(harness, mini) -> None:
    state = checkpoint(Path("best.pth.tar"))
    result = harness("run", *MODEL, "--checkpoint", "best.pth.tar", *mini)
    assert (result.code, result.err) == (0, "")
    record = only_record()
    assert record.method.init == "checkpoint"
    assert record.method.checkpoint is not None
    assert record.method.checkpoint.startswith("best.pth.tar sha256:")
    assert record.budget == "full", "it was trained by the recipe of its paper"
    assert "checkpoint best.pth.tar: ignored beside model: best_result, epoch" in record.warnings
    shipped = load_file(Path("out") / record.run_id / "artifact" / "model.safetensors")
    assert shipped.keys() == state.keys()
    assert all(torch.equal(shipped[key], value) for key, value in state.items())


def test_scores_as_the_artifact_made_of_it(harness, mini) -> None:
    checkpoint(Path("best.pth.tar"))
    assert harness("run", *MODEL, "--checkpoint", "best.pth.tar", *mini).code == 0
    first = only_record()
    artifact = Path("out") / first.run_id / "artifact"
    assert harness("run", *MODEL, "--checkpoint", artifact, *mini, "-o", "again").code == 0
    [second] = find_records(Path("again"))
    assert second.metrics == first.metrics


def test_is_measured_without_data(harness) -> None:
    state = checkpoint(Path("best.pth.tar"))
    small = ("--input-size", "48x48", "--probe", "storage", "-f", "json", "-o", "out")
    result = harness("bench", *MODEL, "-d", "nyud", "--checkpoint", "best.pth.tar", *small)
    assert result.code == 0, result.err
    [row] = json.loads(result.out)
    assert row["parameters"] == sum(value.numel() for value in state.values())
    record = only_record()
    assert record.method.init == "checkpoint"
    assert "checkpoint best.pth.tar: ignored beside model: best_result, epoch" in record.warnings


class Thing:
    """Whatever a training script may have pickled beside its weights."""


FAULTS = {
    "fewer tasks": "60 unexpected (first: decoders.",
    "another size": "1 of another shape (first: backbone.vit.pos_embed [1, 37, 96], not [1, 50, 96])",
    "truncated": "damaged, or neither safetensors nor a torch checkpoint",
    "pickled": "it holds a pickled test_published_checkpoints.Thing, and only tensors and plain values are unpickled",
    "no weights": "no state dict",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["run", "bench"])
def test_what_does_not_fit_is_refused_in_one_line(command: str, fault: str, harness, mini) -> None:
    path = Path("best.pth.tar")
    checkpoint(path, **({"args": Thing()} if fault == "pickled" else {}))
    options: tuple[object, ...] = mini if command == "run" else ("-d", "nyud", "--input-size", "48x48", "-o", "out")
    if fault == "fewer tasks":
        options = (*options, "-t", "semseg")
    if fault == "another size":
        options = (*options, "--input-size", "56x56")
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    if fault == "no weights":
        torch.save({"epoch": 3}, path)
    result = harness(command, *MODEL, "--checkpoint", path, *options)
    assert result.code == 2, result.err
    assert "best.pth.tar" in result.err
    assert FAULTS[fault] in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_checkpoint_that_is_not_there_is_named(command: str, harness) -> None:
    result = harness(command, *MODEL, "-d", "nyud", "--checkpoint", "nofile.pth")
    assert (result.code, result.err) == (2, "harness: --checkpoint nofile.pth: no such file or folder\n")


def test_whole_numbers_are_no_weights(harness) -> None:
    state = {key: value.long() for key, value in checkpoint(Path("best.pth.tar")).items()}
    torch.save(state, "best.pth.tar")
    result = harness("bench", *MODEL, "-d", "nyud", "--input-size", "48x48", "--checkpoint", "best.pth.tar")
    assert result.code == 2
    assert "of another type (first: backbone.vit.blocks.0.attn.proj.bias torch.int64, not torch.float32)" in result.err


def test_a_checkpoint_belongs_to_one_method(harness, mini) -> None:
    checkpoint(Path("best.pth.tar"))
    result = harness("run", *MODEL, "-m", "single-task", "--checkpoint", "best.pth.tar", *mini)
    assert result.code == 2
    assert "belongs to one method, 2 are given" in result.err
