"""Baselines on dilated ResNets cost what their references cost, and take their checkpoints."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch.nn import functional as F

from harness.counting import count_macs
from harness.errors import UsageError
from harness.heads.convolutional import DeepLabHead
from harness.method import load_published
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

from resnet_nets import METHODS, NYUD, PASCAL, SIZE, method  # isort: skip

NYUD_SIZE, PASCAL_SIZE = (480, 640), (512, 512)
REFERENCES = [
    ("multi-task", "resnet50", NYUD[:2], NYUD_SIZE, 266.6, 55.769, 406),
    ("cross-stitch", "resnet50", NYUD[:2], NYUD_SIZE, 383.4, 79.293, 740),
    ("nddr-cnn", "resnet50", NYUD[:2], NYUD_SIZE, 494.4, 101.592, 784),
    ("mtan", "resnet50", NYUD[:2], NYUD_SIZE, 394.3, 72.053, 590),
    ("multi-task", "resnet18", PASCAL, PASCAL_SIZE, 142.1, 34.796, 340),
    ("cross-stitch", "resnet18", PASCAL, PASCAL_SIZE, 334.6, 79.526, 920),
    ("nddr-cnn", "resnet18", PASCAL, PASCAL_SIZE, 373.2, 88.319, 970),
    ("mtan", "resnet18", PASCAL, PASCAL_SIZE, 159.2, 36.613, 692),
]


@pytest.mark.parametrize(("name", "backbone", "tasks", "size", "giga_macs", "million_parameters", "keys"), REFERENCES)
def test_size_and_cost_are_the_references(
    name: str,
    backbone: str,
    tasks: tuple[TaskSpec, ...],
    size: tuple[int, int],
    giga_macs: float,
    million_parameters: float,
    keys: int,
) -> None:
    with torch.device("meta"):
        model = method(name, backbone).build(Problem(tasks, size)).eval()
    with torch.inference_mode():
        count = count_macs(lambda: model(torch.empty(1, 3, *size, device="meta")), model.parts())
    assert count.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)
    assert "other" not in count.per_part
    assert not count.unsupported
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(million_parameters, abs=5e-4)
    assert len(model.state_dict()) == keys


def test_the_head_is_torchvisions_resized() -> None:
    theirs = torchvision.models.segmentation.deeplabv3.DeepLabHead(512, 7).eval()
    ours = DeepLabHead(512, 7, SIZE).eval()
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(1, 512, 4, 6)
    with torch.inference_mode():
        expected = F.interpolate(theirs(features), size=SIZE, mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours(features), expected)


@pytest.mark.parametrize(("channels", "width"), [(2048, 256), (512, 256), (96, 48)])
def test_the_head_is_as_wide_as_published_on_published_encoders(channels: int, width: int) -> None:
    with torch.device("meta"):
        head = DeepLabHead(channels, 3, SIZE)
    assert head[4].in_channels == width


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file to save to."""
    return tmp_path / "best_model.pth.tar"


def save_parallel(state: dict[str, torch.Tensor], path: Path) -> None:
    """Save as training scripts do."""
    wrapped = {"optimizer": {}, "epoch": 3, "model": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, path)


@pytest.mark.parametrize("name", [*METHODS, "multi-task"])
def test_a_checkpoint_of_the_reference_loads(name: str, saved: Path) -> None:
    donor = method(name).build(Problem(NYUD[:2], SIZE)).eval()
    save_parallel(donor.state_dict(), saved)
    model, notes = load_published(method(name), Problem(NYUD[1::-1], SIZE), WeightFile(saved))
    assert notes == ("checkpoint best_model.pth.tar: ignored beside model: epoch, optimizer",)
    for key, value in donor.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", [*METHODS, "multi-task"])
def test_a_checkpoint_for_other_tasks_is_refused(name: str, saved: Path) -> None:
    save_parallel(method(name).build(Problem(NYUD[:2], SIZE)).state_dict(), saved)
    with pytest.raises(
        UsageError, match=rf"{name} on resnet-micro for semseg, depth, normals at 32x48: \d+ missing"
    ) as e:
        load_published(method(name), Problem(NYUD[:3], SIZE), WeightFile(saved))
    assert "\n" not in str(e.value)


def test_a_checkpoint_of_one_network_loads_for_its_task(saved: Path) -> None:
    problem = Problem(NYUD[1:2], SIZE)
    donor = method("single-task").build(problem).state_dict()
    save_parallel({key.removeprefix("nets.depth."): value for key, value in donor.items()}, saved)
    model, _ = load_published(method("single-task"), problem, WeightFile(saved))
    for key, value in donor.items():
        assert torch.equal(model.state_dict()[key], value), key
