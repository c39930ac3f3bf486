"""``harness join``: artifacts of tasks that were trained apart become one, with the training of all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def few(golden: Path) -> tuple[object, ...]:
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    return (*data, "--iterations", 1, "--probe", "none", "--device", "cpu", "-q")


def artifact(out: str) -> Path:
    [found] = Path(out).glob("nyud/*/artifact")
    return found


def record(out: str) -> dict[str, Any]:
    [path] = Path(out).rglob("record.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_networks_that_were_trained_apart_are_joined_with_their_training(
    harness: Callable[..., Any], few: tuple[object, ...]
) -> None:
    for out, task in (("one", "semseg"), ("two", "depth")):
        assert harness("run", "-m", "single-task", *few, "-t", task, "-o", out).code == 0
    result = harness("join", artifact("one"), artifact("two"), "-o", "joined")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{Path('joined') / 'artifact'}\n"
    parts = load_file(artifact("one") / "model.safetensors") | load_file(artifact("two") / "model.safetensors")
    whole = load_file("joined/artifact/model.safetensors")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    words = ("run", "-m", "single-task", *few, "-t", "semseg", "-t", "depth")
    assert harness(*words, "--checkpoint", "joined/artifact", "-o", "scored").code == 0
    scored = record("scored")
    assert scored["training"] == record("one")["training"] + record("two")["training"]
    assert scored["metrics"] == record("one")["metrics"] | record("two")["metrics"]
    assert harness("join", artifact("one"), "-o", "joined").err == "harness: -o joined: holds an artifact already\n"


def test_a_sub_task_that_was_added_joins_what_it_was_added_to(
    harness: Callable[..., Any], few: tuple[object, ...]
) -> None:
    words = ("run", "-m", "share", *few, "--set", "engine=corrections", "-t", "semseg", "-t", "depth")
    assert harness(*words, "-o", "one").code == 0
    assert harness(*words, "-t", "normals", "--extend", artifact("one"), "-o", "two").code == 0
    assert harness("join", artifact("two"), "-o", "joined").code == 0
    joined = {path.name: path.read_bytes() for path in Path("joined/artifact").iterdir()}
    assert joined == {path.name: path.read_bytes() for path in artifact("two").iterdir()}
    stages = json.loads(Path("joined/training.json").read_text())
    assert [stage["name"] for stage in stages] == ["normals", "semseg", "depth"], "that of the first artifact, too"


def test_artifacts_that_share_weights_and_differ_in_them_are_not_joined(
    harness: Callable[..., Any], few: tuple[object, ...]
) -> None:
    for out, task in (("one", "semseg"), ("two", "depth")):
        assert harness("run", "-m", "multi-task", *few, "-t", task, "-o", out).code == 0
    result = harness("join", artifact("one"), artifact("two"), "-o", "joined")
    assert result.code == 2
    assert "differs from the artifacts before it; multi-task shares it" in result.err
    assert not Path("joined/artifact").exists()
