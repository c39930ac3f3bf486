"""Other runtimes behind the commands: costs and accuracy as a user asks for them, GPUs by mocks."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from harness.cli.main import cli
from harness.errors import UsageError
from harness.export.runtime import check_runtime, open_file
from harness.method import save_artifact
from harness.problem import Problem
from harness.registry import load_dataset, load_method

pytestmark = pytest.mark.xdist_group("runtimes")  # its tests share what they are made from

SIZE = (48, 48)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of an untrained multi-task network for the depth of NYUD."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("artifact")
    cls = load_method("multi-task")
    method = cls(cls.Options(), "vit-micro")
    tasks = tuple(task for task in load_dataset("nyud").tasks if task.name == "depth")
    torch.manual_seed(0)
    save_artifact(method, method.build(Problem(tasks, SIZE)), folder)
    return folder


@pytest.mark.parametrize("quantise", ["dynamic"])
def test_costs_carry_the_runtime_and_the_bytes_of_its_file(
    artifact: Path, tmp_path: Path, quantise: str | None
) -> None:
    extra = ["--quantise", quantise] if quantise else []
    timing = [
        "--min-seconds",
        0.01,
        "--min-iterations",
        5,
        "--max-seconds",
        0.1,
        "--probe",
        "latency",
        "-q",
        "-f",
        "json",
    ]
    where = ["-m", "multi-task", "-d", "nyud", "--checkpoint", artifact, "-o", tmp_path, "--device", "cpu"]
    result = call("bench", *where, "--runtime", "onnxruntime", *extra, *timing)
    assert result.exception is None, result.output
    [row] = json.loads(result.stdout)
    assert (row["runtime"], row["quantise"]) == ("onnxruntime", quantise)
    assert row["latency_p50_ms"] > 0
    stored = (artifact / "model.safetensors").stat().st_size
    assert (row["runtime_bytes"] < stored) == (quantise is not None)


def test_accuracy_through_a_runtime_is_a_row_of_its_own(artifact: Path, tmp_path: Path, golden: Path) -> None:
    where = ["-m", "multi-task", "-d", "nyud", "--data-root", golden / "mini_NYUDv2", "--input-size", "48x48"]
    where += ["-t", "depth", "--checkpoint", artifact, "--probe", "none", "-q", "-o", tmp_path]
    metrics = {}
    for extra in ([], ["--runtime", "onnxruntime"]):
        result = call("run", *where, "--device", "cpu", *extra)
        assert result.exception is None, result.output
    for path in tmp_path.glob("nyud/*/record.json"):
        record = json.loads(path.read_text())
        name = record["config"].get("runtime", "eager")
        metrics[name] = record["metrics"]["depth"]["rmse"]["value"]
    assert set(metrics) == {"eager", "onnxruntime"}
    assert metrics["onnxruntime"] == pytest.approx(metrics["eager"], rel=1e-4)
    table = call("table", tmp_path, "-f", "md")
    assert "multi-task runtime=onnxruntime" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quantise", "dynamic"), "onnxruntime alone"),
        (("--runtime", "export", "--precision", "bf16"), "computes in fp32"),
        (("--runtime", "tensorrt", "--device", "cpu"), "needs an NVIDIA GPU"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused_at_once(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = call("bench", "-m", "multi-task", "-o", tmp_path, *arguments)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-harness\[onnx\]'"):
        check_runtime("onnxruntime", torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"mtl-harness\[openvino\]|mtl-harness\[onnx\]"):
        check_runtime("openvino", torch.device("cpu"))


class Session:
    """Stands in for a session of ONNX Runtime on a GPU."""

    loaded = True

    def __init__(self, path: str, options: object, providers: list[object]) -> None:
        self.providers = [one if isinstance(one, str) else one[0] for one in providers]  # type: ignore[index]

    def get_providers(self) -> list[str]:
        return self.providers if self.loaded else ["CPUExecutionProvider"]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [feeds["images"] for _ in names]


@pytest.mark.parametrize(
    ("runtime", "provider"), [("onnxruntime", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
def test_gpus_are_served_by_their_provider_or_refused(
    runtime: str, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = SimpleNamespace(
        SessionOptions=SimpleNamespace, InferenceSession=Session, get_available_providers=lambda: [provider]
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    device = torch.device("cuda", 0)
    assert callable(open_file(tmp_path / "m.onnx", ("depth",), runtime, device))  # type: ignore[arg-type]
    monkeypatch.setattr(Session, "loaded", False)
    with pytest.raises(UsageError, match=f"did not load {provider}"):
        open_file(tmp_path / "m.onnx", ("depth",), runtime, device)  # type: ignore[arg-type]
    fake.get_available_providers = list
    with pytest.raises(UsageError, match=f"has no {provider}"):
        open_file(tmp_path / "m.onnx", ("depth",), runtime, device)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_onnxruntime_serves_a_gpu(artifact: Path, tmp_path: Path) -> None:
    where = ["-m", "multi-task", "-d", "nyud", "--checkpoint", artifact, "-o", tmp_path, "--device", "cuda"]
    result = call("bench", *where, "--runtime", "onnxruntime", "--probe", "latency", "-q", "-f", "json")
    assert result.exception is None, result.output
    assert json.loads(result.stdout)[0]["latency_p50_ms"] > 0
