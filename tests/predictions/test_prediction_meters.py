"""Meters count decoded predictions as they count the raw maps these came from."""

import pytest
import torch

from harness.problem import TaskSpec
from harness.protocol import PROFILES, Protocol
from harness.tasks import build_task

SPECS = {
    "semseg": TaskSpec("semseg", 5),
    "parts": TaskSpec("parts", 4),
    "saliency": TaskSpec("saliency"),
    "normals": TaskSpec("normals"),
    "depth": TaskSpec("depth"),
    "boundary": TaskSpec("boundary", tolerance=0.05),
}


def scene(spec: TaskSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Return raw maps and labels of two images, some pixels ignored."""
    rng = torch.Generator().manual_seed(7)
    raw = 3 * torch.randn(2, spec.channels, 20, 24, generator=rng)
    if spec.num_classes:
        label = torch.randint(spec.num_classes, (2, 1, 20, 24), generator=rng).float()
    elif spec.name in ("saliency", "boundary"):
        label = (torch.rand(2, 1, 20, 24, generator=rng) > 0.7).float()
    else:
        label = torch.rand(2, spec.channels, 20, 24, generator=rng) + 0.1
    label[:, :, :3] = 255
    return raw, label


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SPECS)
def test_decoded_predictions_give_the_very_same_figures(name: str, profile: str) -> None:
    task = build_task(SPECS[name])
    raw, label = scene(SPECS[name])
    protocol = Protocol.profile(profile)
    expected, found = task.meter(protocol), task.meter(protocol)
    expected.update(raw, label)
    found.update_decoded(task.decode(raw), label)
    assert found.compute() == expected.compute()


def test_a_class_that_does_not_exist_is_a_miss_and_no_false_alarm() -> None:
    meter = build_task(TaskSpec("semseg", 2)).meter(Protocol())
    meter.update_decoded(torch.tensor([[[[0.0, 7, 255, 1]]]]), torch.tensor([[[[0.0, 0, 1, 1]]]]))
    # Of both classes one of two pixels is hit, and nothing is called wrongly.
    assert meter.compute()["miou"].value == pytest.approx(0.5)
