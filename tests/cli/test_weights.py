"""``harness run --init``: encoders that start from a file."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from harness.backbones import build_backbone
from harness.cli.run import run as run_command
from harness.records import Record, find_records

SIZE = (48, 48)
"""Input size of the three-image data set."""


@pytest.fixture
def micro(harness) -> Path:
    """A file of weights for vit-micro, in the folder that commands run in, with a classifier beside the encoder."""
    torch.manual_seed(1)
    path = Path("micro.safetensors")
    save_file(build_backbone("vit-micro", SIZE).vit.state_dict() | {"head.weight": torch.ones(2, 2)}, path)
    return path


def only_record(folder: str) -> Record:
    [record] = find_records(Path(folder))
    return record


@pytest.mark.parametrize("method", ["single-task", "multi-task"])
def test_encoders_start_from_a_file(method: str, micro: Path, harness, mini) -> None:
    result = harness("run", "-m", method, "-b", "vit-micro", "--init", micro, *mini)
    assert (result.code, result.err) == (0, "")
    record = only_record("out")
    assert record.method.init == "file"
    assert record.method.checkpoint is not None
    assert record.method.checkpoint.startswith("micro.safetensors sha256:")
    note = "weights micro.safetensors: ignored, as no part of the encoder: head"
    assert record.warnings.count(note) == 1


def test_the_run_begins_with_the_weights_of_the_file(micro: Path, harness, mini) -> None:
    """After one step of the warm-up, nothing is further from the file than that step's learning rate."""
    result = harness("run", "-m", "multi-task", "-t", "depth", "--init", micro, *mini, "--iterations", 1)
    assert result.code == 0, result.err
    weights = load_file(Path("out") / only_record("out").run_id / "artifact" / "model.safetensors")
    for key, value in load_file(micro).items():
        if key != "head.weight":
            torch.testing.assert_close(weights[f"backbone.vit.{key}"], value, rtol=0, atol=3e-4)


def test_a_run_is_known_by_the_bytes_of_the_file_not_by_its_name(micro: Path, harness, mini) -> None:
    shutil.copy(micro, "renamed.safetensors")
    save_file(load_file(micro) | {"head.weight": torch.zeros(2, 2)}, "changed.safetensors")
    ids = []
    for start in ("random", micro, "changed.safetensors", "renamed.safetensors"):
        assert harness("run", "-m", "multi-task", "-t", "depth", "--init", start, *mini).code == 0
        ids.append({record.run_id for record in find_records(Path("out"))})
    assert [len(known) for known in ids] == [1, 2, 3, 3]


def test_the_artifact_needs_the_file_no_more(micro: Path, harness, mini) -> None:
    assert harness("run", "-m", "multi-task", "-t", "depth", "--init", micro, *mini).code == 0
    trained = only_record("out")
    micro.unlink()
    artifact = Path("out") / trained.run_id / "artifact"
    result = harness("run", "-m", "multi-task", "-t", "depth", *mini[:-1], "loaded", "--checkpoint", artifact)
    assert result.code == 0, result.err
    assert only_record("loaded").metrics == trained.metrics


class Smuggled:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def write_a_part(path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.mark.parametrize(
    ("backbone", "write", "message"),
    [
        ("vit-t16", lambda path: torch.save(timm.create_model("resnet18").state_dict(), path), "missing (first:"),
        ("vit-t16", lambda path: torch.save(build_backbone("vit-s16", SIZE).vit.state_dict(), path), "not [192]"),
        ("hrnet18-small", lambda path: torch.save(timm.create_model("hrnet_w18").state_dict(), path), "unexpected"),
        ("resnet18", lambda path: torch.save(timm.create_model("resnet50").state_dict(), path), "of another shape"),
        ("resnet18", write_a_part, "damaged"),
        ("resnet18", lambda path: torch.save({"model": {}, "hook": Smuggled()}, path), "a pickled posix.system"),
        ("resnet18", lambda path: path.mkdir(), "no such file"),
        ("resnet18", lambda path: None, "no such file; give random, pretrained or a file of encoder weights"),
    ],
)
def test_a_wrong_file_is_one_clear_line_and_exit_code_2(backbone: str, write, message: str, harness, mini) -> None:
    write(Path("wrong.pth"))
    result = harness("run", "-m", "multi-task", "-t", "depth", "-b", backbone, "--init", "wrong.pth", *mini)
    assert (result.code, result.out) == (2, "")
    assert "weights wrong.pth" in result.err
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not Path("executed").exists()


@pytest.mark.parametrize("backbone", ["resnet18", "hrnet18-small"])
def test_baselines_run_on_convolutional_encoders(backbone: str, harness, mini) -> None:
    result = harness("run", "-m", "multi-task", "-b", backbone, *mini)
    assert result.code == 0, result.err
    assert only_record("out").method.backbone == backbone


def test_the_start_completes_to_a_word_or_else_to_files() -> None:
    command = run_command.make_context("run", [], resilient_parsing=True)
    option = next(parameter for parameter in run_command.params if parameter.name == "init")
    found = {text: [item.value for item in option.shell_complete(command, text)] for text in ("", "pre")}
    assert found == {"": ["random", "pretrained"], "pre": ["pretrained"]}
    assert [item.type for item in option.shell_complete(command, "weights/")] == ["file"]


def test_weights_are_found_in_what_training_scripts_write(harness, mini) -> None:
    """Compiled and parallel, under a common name, next to numbers of NumPy and a path."""
    torch.manual_seed(1)
    state = build_backbone("vit-micro", SIZE).vit.state_dict()
    wrapped = {f"module._orig_mod.{key}": value for key, value in state.items()}
    beside = {"epoch": np.int16(3), "confusion": np.zeros((3, 3)), "out": Path("runs"), "history": defaultdict(list)}
    torch.save({"model_state_dict": wrapped, **beside}, "found.pth")
    result = harness("run", "-m", "multi-task", "-t", "depth", "--init", "found.pth", *mini, "--iterations", 1)
    assert (result.code, result.err) == (0, "")
    note = "weights found.pth: ignored beside model_state_dict: confusion, epoch, history, out"
    assert note in only_record("out").warnings


def test_weights_that_are_no_numbers_are_refused(micro: Path, harness, mini) -> None:
    state = load_file(micro)
    state["norm.weight"][3] = float("nan")
    save_file(state, micro)
    result = harness("run", "-m", "multi-task", "-t", "depth", "--init", micro, *mini)
    assert result.code == 2
    assert "1 with values that are no finite numbers (first: norm.weight)" in result.err
