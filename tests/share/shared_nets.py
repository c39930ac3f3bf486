"""Small shared networks for tests."""

import torch

from harness.methods.share.delta import LearnedDelta
from harness.methods.share.method import Share
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.problem import Problem, TaskSpec

PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth"), TaskSpec("normals")), (32, 48))
TOKENS = 1 + 4 * 6
WIDTH, DEPTH = 96, 4


def method(**options: object) -> Share:
    return Share(ShareOptions.model_validate(options), "vit-micro")


def differing(problem: Problem = PROBLEM, density: float = 0.1, **options: object) -> SharedNets:
    """Return a model whose sub-tasks differ at random from a base that is not at its start either."""
    torch.manual_seed(1)
    subject = method(**options)
    model = subject.build(problem)
    with torch.no_grad():
        for parameter in model.base.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for task in model.deltas:
            delta = model.delta(task)
            assert isinstance(delta, LearnedDelta)
            delta.randomise(density, model.countable)
            for weight in delta.weights:
                weight.mul_(10)
    return model.eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *PROBLEM.input_size, generator=torch.Generator().manual_seed(3))
