"""Bytes of an artifact by file, part and task, and zipped."""

import os
from pathlib import Path

import pytest
import torch

from harness.files import file_bytes
from harness.method import accounting_of, load_artifact, save_artifact
from harness.probes.storage import measure_storage, zipped_bytes
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth")), (16, 16))


def shipped(name: str, folder: Path) -> dict[str, int]:
    """Save an untrained model and return the bytes of its parts."""
    cls = load_method(name)
    method = cls(cls.Options(), "vit-micro")
    torch.manual_seed(0)
    save_artifact(method, method.build(PROBLEM), folder)
    return dict(accounting_of(method).bytes_per_part(load_artifact(method, folder), folder))


@pytest.mark.parametrize("name", ["single-task", "multi-task"])
def test_parts_sum_to_the_artifact_and_files_too(name: str, tmp_path: Path) -> None:
    storage = measure_storage(tmp_path, shipped(name, tmp_path), PROBLEM.names)
    assert storage.artifact_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sum(storage.per_part.values()) == storage.artifact_bytes
    assert sum(storage.per_file.values()) == storage.artifact_bytes
    assert set(storage.per_file) == {"artifact.json", "model.safetensors"}
    assert 0 < storage.per_part["other"] < 20_000, "headers and the manifest belong to no part"


def test_a_network_per_task_adds_its_network_and_a_shared_encoder_its_head(tmp_path: Path) -> None:
    for name, kind in (("single-task", "net"), ("multi-task", "head")):
        folder = tmp_path / name
        folder.mkdir()
        parts = shipped(name, folder)
        storage = measure_storage(folder, parts, PROBLEM.names)
        assert storage.marginal_bytes == {task: parts[f"{kind}/{task}"] for task in PROBLEM.names}


def test_padding_vanishes_when_zipped_and_noise_does_not(tmp_path: Path) -> None:
    for name, content in (("zeros", bytes(10**6)), ("noise", torch.randint(256, (10**6,)).byte().numpy().tobytes())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    assert zipped_bytes(tmp_path / "zeros") < 10**4
    assert zipped_bytes(tmp_path / "noise") > 0.99 * 10**6


def test_equal_files_zip_to_equal_bytes_whatever_their_times(tmp_path: Path) -> None:
    for name, age in (("old", 10**9), ("new", 1.7 * 10**9)):
        (tmp_path / name / "below").mkdir(parents=True)
        file = tmp_path / name / "below" / "weights"
        file.write_bytes(b"weights" * 1000)
        os.utime(file, (age, age))
    assert zipped_bytes(tmp_path / "old") == zipped_bytes(tmp_path / "new")
    assert file_bytes(tmp_path / "old") == {"below/weights": 7000}


def test_parts_larger_than_the_artifact_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(10))
    with pytest.raises(ValueError, match="the whole artifact 10"):
        measure_storage(tmp_path, {"encoder": 11}, ())
