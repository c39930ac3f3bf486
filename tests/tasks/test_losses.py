"""Losses against formulas written out by hand, their gradients, and batches without a label."""

import pytest
import torch
from torch import Tensor

from harness.problem import TaskSpec
from harness.tasks import TASKS, build_task
from harness.tasks.base import IGNORE

SPECS = [
    TaskSpec("semseg", 4),
    TaskSpec("parts", 7),
    TaskSpec("saliency"),
    TaskSpec("normals"),
    TaskSpec("depth"),
    TaskSpec("boundary"),
]


def example(spec: TaskSpec) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    prediction = torch.randn(2, spec.channels, 3, 4, generator=generator, dtype=torch.float64)
    if spec.name == "normals":
        target = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64)
        target /= target.norm(dim=1, keepdim=True)
    elif spec.name == "depth":
        target = torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.float64) * 9
    else:
        target = torch.randint(spec.num_classes or 2, (2, 1, 3, 4), generator=generator).double()
    target[0, :, 1] = IGNORE
    return prediction, target


def pixels(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Valid pixels as rows: predictions [N, C] and labels [N, 1 or 3]."""
    p, t = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (prediction, target))
    valid = t[:, 0] != IGNORE
    return p[valid], t[valid]


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.name)
def test_label_loss_is_the_mean_negative_log_likelihood(spec: TaskSpec) -> None:
    prediction, target = example(spec)
    p, t = pixels(prediction, target)
    likelihood = p.exp()[range(len(p)), t[:, 0].long()] / p.exp().sum(1)
    torch.testing.assert_close(build_task(spec).loss(prediction, target), -likelihood.log().mean())


@pytest.mark.parametrize("channels", [1, 2])
def test_saliency_loss_weighs_each_side_by_the_share_of_the_other(channels: int) -> None:
    prediction, target = example(TaskSpec("saliency"))
    if channels == 1:
        prediction = prediction[:, 1:]
    p, t = pixels(prediction, target)
    salient = t[:, 0] == 1
    odds = p[:, 1] - p[:, 0] if channels == 2 else p[:, 0]
    probability = 1 / (1 + (-odds).exp())
    share = (~salient).double().mean()
    positive = -(share * probability[salient].log()).sum()
    negative = -((1 - share) * (1 - probability[~salient]).log()).sum()
    loss = build_task(TaskSpec("saliency")).loss(prediction, target)
    torch.testing.assert_close(loss, (positive + negative) / len(p))


def test_normals_loss_sums_over_the_channels() -> None:
    prediction, target = example(TaskSpec("normals"))
    p, t = pixels(prediction, target)
    expected = (p / p.norm(dim=1, keepdim=True) - t).abs().sum() / len(p)
    torch.testing.assert_close(build_task(TaskSpec("normals")).loss(prediction, target), expected)


def test_normals_loss_has_a_gradient_at_a_zero_prediction() -> None:
    prediction = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = build_task(TaskSpec("normals")).loss(prediction, torch.full((1, 3, 2, 2), 0.5))
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.isfinite().all()


def test_depth_loss_is_the_mean_absolute_error() -> None:
    prediction, target = example(TaskSpec("depth"))
    p, t = pixels(prediction, target)
    torch.testing.assert_close(build_task(TaskSpec("depth")).loss(prediction, target), (p - t).abs().mean())


def test_boundary_loss_weighs_edges_by_095() -> None:
    prediction, target = example(TaskSpec("boundary"))
    p, t = pixels(prediction, target)
    probability = p.sigmoid()
    each = torch.where(t == 1, -0.95 * probability.log(), -0.05 * (1 - probability).log())
    torch.testing.assert_close(build_task(TaskSpec("boundary")).loss(prediction, target), each.mean())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_gradient_is_that_of_the_formula_and_zero_where_ignored(spec: TaskSpec) -> None:
    prediction, target = example(spec)
    prediction.requires_grad_()
    task = build_task(spec)
    assert torch.autograd.gradcheck(lambda p: task.loss(p, target), prediction)
    (gradient,) = torch.autograd.grad(task.loss(prediction, target), prediction)
    assert (gradient[0, :, 1] == 0).all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_nothing_valid_gives_zero_with_a_graph(spec: TaskSpec) -> None:
    prediction, target = example(spec)
    prediction = prediction.float().requires_grad_()
    loss = build_task(spec).loss(prediction, torch.full_like(target, IGNORE).float())
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert loss.item() == 0
    assert (gradient == 0).all()


def test_weights_and_titles_are_the_fields() -> None:
    assert {name: task.weight for name, task in TASKS.items()} == {
        "semseg": 1,
        "parts": 2,
        "saliency": 5,
        "normals": 10,
        "depth": 1,
        "boundary": 50,
    }
    assert [f"{task.title} {task.headline_title}" for task in TASKS.values()] == [
        "SemSeg mIoU",
        "Parsing mIoU",
        "Saliency maxF",
        "Normals mErr",
        "Depth RMSE",
        "Boundary odsF",
    ]
