"""Baselines on HRNets cost what their references cost, and take their checkpoints."""

from pathlib import Path

import pytest
import timm
import torch

from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import load_published
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

from hrnet_nets import EDGES_AND_NORMALS, METHODS, NYUD, PASCAL, SIZE, method  # isort: skip

REFERENCES = [
    ("mti-net", NYUD[:2], (480, 640), {}, 17.1, 8.578),
    ("mti-net", NYUD[:2], (480, 640), EDGES_AND_NORMALS, 22.9, 14.838),
    ("mti-net", NYUD, (448, 576), {}, 23.8, 17.961),
    ("mti-net", PASCAL, (512, 512), {}, 30.3, 24.494),
    ("pad-net", NYUD[:2], (480, 640), {}, 70.3, 7.019),
    ("pad-net", NYUD, (448, 576), {}, 260.5, 19.522),
    ("pad-net", PASCAL, (512, 512), {}, 424.9, 29.305),
    ("multi-task", NYUD[:2], (480, 640), {}, 12.8, 4.019),
    ("multi-task", NYUD, (448, 576), {}, 13.1, 4.168),
    ("multi-task", PASCAL, (512, 512), {}, 14.5, 4.238),
    ("single-task", NYUD[:1], (480, 640), {}, 11.4, 3.945),
    ("single-task", PASCAL[:1], (512, 512), {}, 9.6, 3.940),
]


@pytest.mark.parametrize(("name", "tasks", "size", "options", "giga_macs", "million_parameters"), REFERENCES)
def test_size_and_cost_are_the_references(
    name: str,
    tasks: tuple[TaskSpec, ...],
    size: tuple[int, int],
    options: dict[str, object],
    giga_macs: float,
    million_parameters: float,
) -> None:
    with torch.device("meta"):
        model = method(name, "hrnet18-small", **options).build(Problem(tasks, size)).eval()
    with torch.inference_mode():
        count = count_macs(lambda: model(torch.empty(1, 3, *size, device="meta")), model.parts())
    assert count.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)
    assert "other" not in count.per_part
    assert not count.unsupported
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(million_parameters, abs=5e-4)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file to save to."""
    return tmp_path / "best_model.pth.tar"


def save_parallel(state: dict[str, torch.Tensor], path: Path) -> None:
    """Save as training scripts do."""
    wrapped = {
        "optimizer": {"state": {}},
        "epoch": 3,
        "model": {f"module.{key}": value for key, value in state.items()},
    }
    torch.save(wrapped, path)


@pytest.mark.parametrize("name", [*METHODS, "multi-task"])
def test_a_checkpoint_of_the_reference_loads(name: str, saved: Path) -> None:
    donor = method(name).build(Problem(NYUD[:2], SIZE)).eval()
    save_parallel(donor.state_dict(), saved)
    model, notes = load_published(method(name), Problem(NYUD[1::-1], SIZE), WeightFile(saved))
    assert notes == ("checkpoint best_model.pth.tar: ignored beside model: epoch, optimizer",)
    for key, value in donor.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("name", "message"),
    [("mti-net", "missing"), ("pad-net", "missing"), ("multi-task", r"9 missing .first: decoders.normals")],
)
def test_a_checkpoint_for_other_tasks_is_refused(name: str, message: str, saved: Path) -> None:
    save_parallel(method(name).build(Problem(NYUD[:2], SIZE)).state_dict(), saved)
    with pytest.raises(UsageError, match=message) as caught:
        load_published(method(name), Problem(NYUD[:3], SIZE), WeightFile(saved))
    assert f"{name} on hrnet-micro for semseg, depth, normals" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_one_network_loads_for_its_task(saved: Path) -> None:
    problem = Problem(NYUD[1:2], SIZE)
    donor = method("single-task").build(problem).state_dict()
    state = {key.removeprefix("nets.depth."): value for key, value in donor.items()}
    assert all(key.startswith(("backbone.", "decoder.last_layer.")) for key in state)
    save_parallel(state, saved)
    model, _ = load_published(method("single-task"), problem, WeightFile(saved))
    assert torch.equal(model.state_dict()["nets.depth.decoder.last_layer.3.bias"], state["decoder.last_layer.3.bias"])
    with pytest.raises(UsageError, match=r"missing .* unexpected \(first: backbone\.bn1"):
        load_published(method("single-task"), Problem(NYUD[:2], SIZE), WeightFile(saved))


@pytest.mark.parametrize("name", METHODS)
def test_the_large_hrnet_is_not_taken_for_the_small_one(name: str, saved: Path) -> None:
    """Its keys hold all of the small network's under the same shapes."""
    large = timm.create_model("hrnet_w18", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    subject, problem = method(name, "hrnet18-small"), Problem(NYUD[:2], SIZE)
    state = subject.build(problem).state_dict()
    prefix = "backbone.0." if name == "pad-net" else "backbone."
    save_parallel(state | {prefix + key: value for key, value in large.state_dict().items()}, saved)
    with pytest.raises(UsageError, match=r"does not fit .*: 966 unexpected \(first: backbone\..*layer1\.2\.") as caught:
        load_published(subject, problem, WeightFile(saved))
    assert "\n" not in str(caught.value)
