"""Artifacts edited by hand or damaged: refused in one line by every command that reads them."""

import collections
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing.weights import attempt_artifact, attempt_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from harness.method import save_artifact
from harness.methods.share.training import TrainedNets
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

PROBLEM = Problem(
    (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary", tolerance=0.011)), (48, 48)
)
SMALL = Problem((TaskSpec("semseg", 3, ("a", "b", "c")), TaskSpec("depth")), (32, 48))


def save(name: str, problem: Problem, folder: Path) -> Path:
    torch.manual_seed(0)
    folder.mkdir()
    cls = load_method(name)
    method = cls(cls.Options(), "vit-micro")
    model = method.build(problem)
    if isinstance(model, TrainedNets):
        for task in model.deltas:
            model.learned(task).randomise(0.05, model.countable)
        model.calibrated.add("depth")  # so that its gates are read
    save_artifact(method, model, folder)
    return folder


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    return {name: save(name, PROBLEM, folder / name) for name in ("multi-task", "share")}


def edit(path: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Return an edit of a JSON file."""

    def apply(artifact: Path) -> None:
        content = json.loads((artifact / path).read_text())
        change(content)
        (artifact / path).write_text(json.dumps(content))

    return apply


def write(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda artifact: (artifact / path).write_bytes(content)


def pipe(path: str) -> Callable[[Path], None]:
    def apply(artifact: Path) -> None:
        (artifact / path).unlink()
        os.mkfifo(artifact / path)

    return apply


def poison(path: str) -> Callable[[Path], None]:
    """Make the first real value of a file NaN."""

    def apply(artifact: Path) -> None:
        tensors = load_file(artifact / path)
        key = next(key for key in sorted(tensors) if tensors[key].is_floating_point())
        tensors[key].view(-1)[0] = float("nan")
        save_file(tensors, artifact / path)

    return apply


def cut(path: str, size: int) -> Callable[[Path], object]:
    return lambda artifact: (artifact / path).write_bytes((artifact / path).read_bytes()[:size])


def first(content: Any) -> Any:
    return content["tasks"][0]


def gate(content: Any) -> Any:
    return content["facts"]["gates"][0]


def row(content: Any) -> Any:
    return content["facts"]["tensors"][0]


MANIFEST = {
    "an unknown key of a task": edit("artifact.json", lambda o: first(o).update(evil=1)),
    "a task without a name": edit("artifact.json", lambda o: first(o).pop("name")),
    "no class names": edit("artifact.json", lambda o: first(o).update(class_names=None)),
    "class names that are numbers": edit("artifact.json", lambda o: first(o).update(class_names=[1])),
    "a task that leaves the folder": edit("artifact.json", lambda o: first(o).update(name="../..")),
    "a task twice": edit("artifact.json", lambda o: o["tasks"].append(first(o))),
    "no task": edit("artifact.json", lambda o: o["tasks"].clear()),
    "a task that is a list": edit("artifact.json", lambda o: o["tasks"].append([1])),
    "no classes": edit("artifact.json", lambda o: first(o).update(num_classes=0)),
    "an unknown task": edit("artifact.json", lambda o: first(o).update(name="zz", num_classes=None)),
    "a boundless tolerance": edit("artifact.json", lambda o: first(o).update(tolerance=float("nan"))),
    "unknown options": edit("artifact.json", lambda o: o.update(options={"zz": 1})),
    "options that are a list": edit("artifact.json", lambda o: o.update(options=[1])),
    "another method": edit("artifact.json", lambda o: o.update(method="share")),
    "an unknown method": edit("artifact.json", lambda o: o.update(method="zz")),
    "an unknown backbone": edit("artifact.json", lambda o: o.update(backbone="vit-z16")),
    "no size": edit("artifact.json", lambda o: o.update(input_size=[0, 48])),
    "a size without end": edit("artifact.json", lambda o: o.update(input_size=[10**9, 10**9])),
    "another version": edit("artifact.json", lambda o: o.update(format=99)),
    "a key too many": edit("artifact.json", lambda o: o.update(evil=1)),
    "a key too few": edit("artifact.json", lambda o: o.pop("backbone")),
    "a list": write("artifact.json", b"[]"),
    "deep JSON": write("artifact.json", b"[" * 100_000),
    "deep values": write("artifact.json", b'{"format":' + b'{"a":' * 50_000),
    "no text": write("artifact.json", b"\xff\xfe\x00"),
    "an empty file": write("artifact.json", b""),
}
WEIGHTS = {
    "no weights": lambda artifact: (artifact / "model.safetensors").unlink(),
    "half of the weights": cut("model.safetensors", 1000),
    "a pipe for weights": pipe("model.safetensors"),
    "NaN": poison("model.safetensors"),
}
SHARED = {
    "half a table": cut("depth.task.json", 100),
    "a pipe for a table": pipe("depth.task.json"),
    "a file of another task": edit("depth.task.json", lambda o: o["task"].update(name="normals")),
    "a file of a folder": edit("depth.task.json", lambda o: o["task"].update(name="../../depth")),
    "a fact too many": edit("depth.task.json", lambda o: o["facts"].update(evil=1)),
    "a fraction of 1e9": edit("depth.task.json", lambda o: gate(o).update(share=1e9)),
    "an infinite threshold": edit("depth.task.json", lambda o: gate(o).update(thresholds=[float("inf"), 0, 0])),
    "more values than elements": edit("depth.task.json", lambda o: row(o).update(stored=10**12)),
    "a weight of no block": edit("depth.task.json", lambda o: row(o).update(name="blocks.=1+1.norm1.weight")),
    "no elements": edit("depth.task.json", lambda o: o["facts"].update(encoder_elements=0)),
}
SHARED_LOADED = {
    "no table": edit("depth.task.json", lambda o: o.pop("facts")),
    "a gate of block 999": edit("depth.task.json", lambda o: gate(o).update(block=999)),
    "another weight": edit("depth.task.json", lambda o: row(o).update(name="blocks.99.attn.qkv.weight")),
    "a shape without end": edit("depth.task.json", lambda o: row(o).update(shape=[10**6, 10**6])),
    "a weight twice": edit("depth.task.json", lambda o: o["facts"]["tensors"].append(row(o))),
    "other values": edit("depth.task.json", lambda o: o["facts"].update(values="fp16")),
    "no base": lambda artifact: (artifact / "base.safetensors").unlink(),
    "half a base": cut("base.safetensors", 1000),
    "a pipe for the base": pipe("base.safetensors"),
    "NaN in the base": poison("base.safetensors"),
    "NaN in a difference": poison("depth.safetensors"),
    "NaN in a head": poison("semseg.safetensors"),
    "half a task": cut("normals.safetensors", 1000),
    "another base task": edit("artifact.json", lambda o: o["options"].update(base_task="depth")),
}
COMMANDS = ("show", "predict", "run", "bench")
CASES = [
    *(("multi-task", case, command) for case in MANIFEST for command in COMMANDS[: 2 if "JSON" not in case else 4]),
    *(("multi-task", case, command) for case in list(MANIFEST)[::6] for command in COMMANDS[2:]),
    *(("multi-task", case, command) for case in WEIGHTS for command in COMMANDS[1:]),
    *(("share", case, command) for case in SHARED for command in COMMANDS[:2]),
    *(("share", case, command) for case in SHARED_LOADED for command in COMMANDS[1:3]),
]


@pytest.mark.parametrize(("method", "case", "command"), CASES)
def test_it_is_refused_in_one_line(method: str, case: str, command: str, artifacts, harness, golden: Path) -> None:
    shutil.copytree(artifacts[method], "artifact")
    {**MANIFEST, **WEIGHTS, **SHARED, **SHARED_LOADED}[case](Path("artifact"))
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save("image.png")
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    arguments: dict[str, tuple[object, ...]] = {
        "show": ("show", "artifact"),
        "predict": ("predict", "--checkpoint", "artifact", "image.png", "-o", "pictures"),
        "run": ("run", "-m", method, *data, "--checkpoint", "artifact", "--probe", "none", "-q", "-o", "out"),
        "bench": ("bench", "-m", method, "-d", "nyud", "--checkpoint", "artifact", "--probe", "storage", "-o", "out"),
    }
    result = harness(*arguments[command])
    assert result.code == 2, result.err
    assert result.err.startswith("harness: artifact artifact: ") or "artifact: " in result.err, result.err
    assert len(result.err.strip().splitlines()) == 1, result.err


@pytest.mark.parametrize("name", ["multi-task", "share"])
def test_no_mutated_artifact_escapes(name: str, tmp_path: Path) -> None:
    """Nothing but an error of ours, in one line, and no weights that are no numbers."""
    sound = save(name, SMALL, tmp_path / name)
    outcomes = [attempt_artifact(sound, seed, tmp_path) for seed in range(150)]
    assert sum(outcome != "read" for outcome in outcomes) > 75, "the mutations bite"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_no_mutated_checkpoint_escapes(zipped: bool, tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}
    beside = {"x": np.zeros((2, 2)), "n": np.int16(3), "d": collections.defaultdict(list), "p": Path("a")}
    buffer = io.BytesIO()
    torch.save({"model": state, **beside}, buffer, _use_new_zipfile_serialization=zipped)
    outcomes = [attempt_checkpoint(buffer.getvalue(), seed, tmp_path) for seed in range(150)]
    assert sum(outcome != "read" for outcome in outcomes) > 75
