"""Small corrected networks for tests."""

import torch

from harness.methods.share.corrections import CorrectedNets
from harness.methods.share.method import Share
from harness.methods.share.options import ShareOptions
from harness.problem import Problem, TaskSpec

PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (32, 48))
PATCHES, WIDTH, DEPTH = 4 * 6, 96, 4


def method(**options: object) -> Share:
    return Share(ShareOptions.model_validate({"engine": "corrections"} | options), "vit-micro")


def corrected(problem: Problem = PROBLEM, perturbed: bool = True, **options: object) -> CorrectedNets:
    """Return networks in evaluation mode, whose sub-tasks differ at random from the base if they are perturbed."""
    torch.manual_seed(1)
    nets = method(**options).build(problem)
    assert isinstance(nets, CorrectedNets)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in nets.base.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        for task in nets.corrections:
            nets.correction(task).start_as(nets.base)
        for parameter in nets.corrections.parameters() if perturbed else ():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return nets.eval()


def images(count: int = 2, problem: Problem = PROBLEM) -> torch.Tensor:
    return torch.randn(count, 3, *problem.input_size, generator=torch.Generator().manual_seed(3))
