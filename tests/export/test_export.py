"""Exported models: every method's graph, files equal to the model, what is refused."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from harness.cli.main import cli
from harness.errors import MethodError
from harness.export.capture import capture
from harness.export.runtime import deploy
from harness.method import MultiTaskModel, accounting_of, load_artifact, save_artifact
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

PROBLEM = Problem((TaskSpec("semseg", 40), TaskSpec("depth")), (48, 48))
SMALLEST = Problem((TaskSpec("semseg", 40),), (32, 32))


def artifact(name: str, folder: Path, problem: Problem = PROBLEM, **options: object) -> MultiTaskModel:
    """Save an untrained model and return it as it is loaded, in evaluation mode."""
    cls = load_method(name)
    method = cls(cls.Options.model_validate(options), cls.default_backbone["quick"])
    torch.manual_seed(0)
    folder.mkdir()
    save_artifact(method, accounting_of(method).untrained(problem), folder)
    return load_artifact(method, folder).eval()


DIFFERENT = ("multi-task", "tsp", "mtlora", "pad-net")
"""Methods whose batch goes different ways; those of all the others were exported alike when these were chosen."""


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_method_is_one_graph_for_any_batch(name: str, tmp_path: Path) -> None:
    model = artifact(name, tmp_path / "a", SMALLEST)
    size = model.problem.input_size
    captured = capture(model, torch.randn(1, 3, *size))
    assert (captured.batch, captured.reason) == (None, None)
    graph = captured.program.module()
    images = torch.randn(3, 3, *size)
    with torch.inference_mode():
        wanted, found = model(images), graph(images)
    for task, map_ in zip(captured.tasks, found, strict=True):
        assert float((map_ - wanted[task]).abs().max()) <= 1e-4 * float(wanted[task].abs().max())


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "tokens"},
        {"engine": "corrections"},
    ],
    ids=str,
)
def test_share_is_a_graph_with_every_engine_of_static_shapes(options: dict[str, object], tmp_path: Path) -> None:
    model = artifact("share", tmp_path / "a", **options)
    captured = capture(model, torch.randn(1, 3, *PROBLEM.input_size))
    images = torch.randn(1 if captured.batch else 3, 3, *PROBLEM.input_size)
    with torch.inference_mode():
        wanted, found = model(images), captured.program.module()(images)
    for task, map_ in zip(captured.tasks, found, strict=True):
        assert float((map_ - wanted[task]).abs().max()) <= 1e-4 * float(wanted[task].abs().max())


def test_a_gate_by_threshold_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = artifact("share", tmp_path / "a", policy="threshold")
    with pytest.raises(MethodError, match="cannot be captured as a graph"):
        capture(model, torch.randn(1, 3, *PROBLEM.input_size))


@pytest.mark.parametrize(
    ("name", "target"), [("multi-task", "onnx"), ("share", "onnx"), ("multi-task", "torch-export")]
)
def test_the_command_writes_a_file_that_is_equal_on_images(
    name: str, target: str, tmp_path: Path, golden: Path
) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
    artifact(name, tmp_path / "a")
    arguments = ["export", str(tmp_path / "a"), "--to", target, "-o", str(tmp_path / "out"), "--limit", "2"]
    arguments += ["-d", "nyud", "--data-root", str(golden / "mini_NYUDv2")]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    card = json.loads((tmp_path / "out" / "export.json").read_text())
    batch = 1 if card["fixed_batch"] else "batch"
    assert (batch == 1) == (name == "share")  # whose gates choose tokens of each image
    assert card["input"]["images"] == [batch, 3, 48, 48]
    assert card["outputs"]["depth"] == [batch, 1, 48, 48]
    assert card["opset"] == (18 if target == "onnx" else None)
    assert card["checked_on"] == "2 validation images of nyud"
    assert max(card["largest_error"].values()) <= 1e-4
    assert card["bytes"] == (tmp_path / "out" / card["file"]).stat().st_size or target == "onnx"


def test_int8_is_smaller_and_near(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = artifact("multi-task", tmp_path / "a")
    images = torch.randn(2, 3, *PROBLEM.input_size)
    plain = deploy(model, images[:1], "onnxruntime")
    small = deploy(model, images[:1], "onnxruntime", "static", list(images.split(1)))
    assert small.size < 0.6 * plain.size
    with torch.inference_mode():
        wanted = model(images)
    for found, most in ((plain(images), 1e-4), (small(images), 0.5)):
        for task in PROBLEM.names:
            assert float((found[task] - wanted[task]).abs().max()) <= most * float(wanted[task].abs().max())
