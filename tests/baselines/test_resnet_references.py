"""Sizes and costs of the baselines on dilated ResNets are the references'."""

import pytest
import torch

from harness.counting import count_macs
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

NYUD = Problem((TaskSpec("semseg", 40), TaskSpec("depth")), (480, 640))
PASCAL = Problem(
    (
        TaskSpec("semseg", 21),
        TaskSpec("parts", 7),
        TaskSpec("saliency"),
        TaskSpec("normals"),
        TaskSpec("boundary", tolerance=0.0075),
    ),
    (512, 512),
)


@pytest.mark.parametrize(
    ("name", "backbone", "problem", "parameters", "keys", "giga_macs"),
    [
        ("multi-task", "resnet50", NYUD, 55.769, 406, 266.6),
        ("cross-stitch", "resnet50", NYUD, 79.293, 740, 383.4),
        ("nddr-cnn", "resnet50", NYUD, 101.592, 784, 494.4),
        ("mtan", "resnet50", NYUD, 72.053, 590, 394.3),
        ("multi-task", "resnet18", PASCAL, 34.796, 340, 142.1),
        ("cross-stitch", "resnet18", PASCAL, 79.526, 920, 334.6),
        ("nddr-cnn", "resnet18", PASCAL, 88.319, 970, 373.2),
        ("mtan", "resnet18", PASCAL, 36.613, 692, 159.2),
    ],
)
def test_size_and_cost_are_the_references(
    name: str, backbone: str, problem: Problem, parameters: float, keys: int, giga_macs: float
) -> None:
    """Figures measured on the code of Vandenhende et al., TPAMI 2021."""
    cls = load_method(name)
    with torch.device("meta"):
        model = cls(cls.Options(), backbone).build(problem).eval()
        images = torch.empty(1, 3, *problem.input_size)
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert len(model.state_dict()) == keys
    with torch.inference_mode():
        count = count_macs(lambda: model(images), model.parts())
    assert not count.unseen
    assert count.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)
