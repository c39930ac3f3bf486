"""Memory: what is shared counts once, and what a device cannot tell is null with the reason."""

import pytest
import torch
from torch import nn

from harness.compute import Compute
from harness.method import MultiTaskModel
from harness.probes.memory import held_bytes, measure_memory, training_step
from harness.problem import Problem, TaskSpec

CPU = Compute(torch.device("cpu"))
PROBLEM = Problem((TaskSpec("depth"),), (8, 8))


class Small(MultiTaskModel):
    def __init__(self) -> None:
        super().__init__(PROBLEM)
        self.conv = nn.Conv2d(3, 1, 1)
        self.same = self.conv
        self.register_buffer("scale", torch.ones(10))
        self.register_buffer("view", self.scale[:5])
        self.register_buffer("weights", self.conv.weight.detach())

    def forward(self, images: torch.Tensor, tasks: object = None) -> dict[str, torch.Tensor]:
        return {"depth": self.conv(images)}


def test_shared_storage_counts_once_and_for_the_parameters() -> None:
    assert held_bytes(Small()) == (4 * 4, 10 * 4)


def test_a_cpu_tells_its_resident_set_and_says_why_not_more() -> None:
    found = measure_memory(Small(), torch.randn(2, 3, 8, 8), CPU)
    assert found.resident is not None
    assert 0 < found.resident.before_bytes <= found.resident.peak_bytes
    assert found.inference is None
    assert set(found.reasons) == {"inference", "training_step"}
    assert found.batch_size == 2


def test_a_training_step_moves_every_parameter() -> None:
    model = Small()
    before = [parameter.clone() for parameter in model.parameters()]
    training_step(model, torch.randn(2, 3, 8, 8), CPU)()
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter"):
        training_step(model, torch.randn(2, 3, 8, 8), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_its_peaks() -> None:
    found = measure_memory(Small(), torch.randn(2, 3, 8, 8), Compute(torch.device("cuda")))
    assert found.inference is not None
    assert found.training_step is not None
    assert found.training_step.allocated_bytes >= found.inference.allocated_bytes > 0
    assert "resident" in found.reasons
