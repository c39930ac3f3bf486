"""Training aids: parts of a batch equal to the batch, averaged weights, gradients of tasks that are balanced."""

from pathlib import Path

import pytest
import torch
from torch import nn
from training_setups import training_setup

from harness.data.open import OpenedData, open_data
from harness.errors import UsageError
from harness.method import Stage
from harness.model import MultiTaskModel
from harness.protocol import Protocol
from harness.recipe import Aids, Optimizer, Schedule
from harness.registry import load_dataset
from harness.training.aids import Average, Backward, objectives_of
from harness.training.loop import train

pytestmark = pytest.mark.xdist_group("aids")  # its tests share what they are made from

CPU = torch.device("cpu")


class Convolutions(MultiTaskModel):
    """One convolution for all tasks and one for each; nothing that looks at other images of a batch."""

    def __init__(self, problem) -> None:
        super().__init__(problem)
        self.shared = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(4, task.channels, 1) for task in problem})

    def forward(self, images, tasks=None):
        features = self.shared(images).tanh()
        return {task: self.heads[task](features) for task in tasks or self.problem.names}


@pytest.fixture(scope="module")
def data(golden: Path) -> OpenedData:
    return open_data(load_dataset("nyud"), golden / "mini_NYUDv2", (), Protocol(), None, training=True)


def trained(data: OpenedData, folder: Path, aids: Aids, steps: int = 2, **fields: object):
    torch.manual_seed(0)
    model = Convolutions(data.problem)
    optimizer = Optimizer("sgd", lr=0.05, momentum=0.0)
    schedule = Schedule("constant")
    stage = Stage("s", data.problem.names, steps, 3, optimizer=optimizer, schedule=schedule, **fields)  # type: ignore[arg-type]
    [info] = train(model, [stage], training_setup(data, folder, aids=aids))
    return model, info


def test_parts_of_a_batch_train_as_the_batch_does(data: OpenedData, tmp_path: Path) -> None:
    whole, info = trained(data, tmp_path / "a", Aids())
    parts, other = trained(data, tmp_path / "b", Aids(accumulate=3))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert other.final_loss == pytest.approx(info.final_loss, rel=1e-5)
    assert (other.iterations, other.batch_size, other.macs) == (info.iterations, info.batch_size, info.macs)


def test_averaged_weights_are_those_of_the_formula() -> None:
    model = nn.Linear(1, 1)
    values = []
    with torch.no_grad():
        model.weight.fill_(0.0)
        average = Average(model, 0.5)
        for step in range(3):
            model.weight.fill_(step + 1.0)
            average.update(model, step)
            values.append(average.values["weight"].item())
        average.give_to(model)
    # d = 0.1, 2/11, 3/12
    first = 0.9 * 1
    second = 2 / 11 * first + 9 / 11 * 2
    third = 0.25 * second + 0.75 * 3
    assert values == pytest.approx([first, second, third])
    assert model.weight.item() == pytest.approx(third)


def test_a_run_ends_with_the_average(data: OpenedData, tmp_path: Path) -> None:
    plain, _ = trained(data, tmp_path / "a", Aids())
    averaged, _ = trained(data, tmp_path / "b", Aids(ema=0.9))
    assert not torch.equal(plain.shared.weight, averaged.shared.weight)
    torch.manual_seed(0)
    start = Convolutions(data.problem).shared.weight
    assert (averaged.shared.weight - start).norm() < (plain.shared.weight - start).norm()


def backward(kind: str | None, losses) -> tuple[nn.Module, Backward]:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    stage = Stage("s", ("depth", "semseg"), 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = Backward(model, stage, kind, optimizer, torch.amp.GradScaler("cpu", enabled=False), CPU)  # type: ignore[arg-type]
    step(losses(model.weight[0]))
    return model, step


@pytest.mark.parametrize("kind", ["upgrad", "mgda", "pcgrad"])
def test_balanced_gradients_hurt_no_task(kind: str) -> None:
    pytest.importorskip("torchjd")
    # Gradients (1, 0) and (-1, 1): their sum (0, 1) does nothing for the first task.
    model, _ = backward(kind, lambda w: {"depth": w[0], "semseg": w[1] - w[0]})
    found = model.weight.grad[0]
    assert found @ torch.tensor([1.0, 0.0]) > 0
    assert found @ torch.tensor([-1.0, 1.0]) > 0
    if kind == "mgda":  # the shortest vector between the two
        torch.testing.assert_close(found, torch.tensor([0.2, 0.4]), atol=0.02, rtol=0)


def test_uncertainty_weighs_by_the_formula() -> None:
    model, step = backward("uncertainty", lambda w: {"depth": 3 + w[0], "semseg": 1 + w[1]})
    # d/ds (exp(-s) L + s) = 1 - L at s = 0
    torch.testing.assert_close(step.s.grad, torch.tensor([-2.0, 0.0]))
    torch.testing.assert_close(model.weight.grad[0], torch.tensor([1.0, 1.0]))


def test_objectives_join_the_losses_of_a_task() -> None:
    one = torch.tensor(1.0)
    found = objectives_of(
        {"depth": one, "intermediate0/depth": one, "semseg": one, "sparsity": one}, ("depth", "semseg")
    )
    assert {name: float(value) for name, value in found.items()} == {"depth": 2, "semseg": 1, "auxiliary": 1}


@pytest.mark.parametrize("kind", ["uncertainty", "upgrad"])
def test_balanced_training_counts_its_effort(kind: str, data: OpenedData, tmp_path: Path) -> None:
    if kind != "uncertainty":
        pytest.importorskip("torchjd")
    _, plain = trained(data, tmp_path / "a", Aids())
    _, balanced = trained(data, tmp_path / "b", Aids(balance=kind))  # type: ignore[arg-type]
    assert plain.macs is not None
    assert balanced.macs is not None
    assert (balanced.macs > plain.macs) == (kind == "upgrad"), "every task has a backward pass of its own"


def test_what_cannot_be_is_refused(data: OpenedData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has batches of 3"):
        trained(data, tmp_path / "a", Aids(accumulate=4))
    with pytest.raises(UsageError, match="weighs the losses"):
        trained(data, tmp_path / "b", Aids(balance="uncertainty"), weigh=lambda model, losses: losses)
