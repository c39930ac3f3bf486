"""Small untrained models of the three methods that carry state over frames, built once, and clips of noise."""

from functools import cache

import torch
from torch import Tensor

from harness.baselines.multi_task import MultiTask
from harness.baselines.single_task import SingleTask
from harness.methods.share import Share
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.model import MultiTaskModel
from harness.problem import Problem, TaskSpec

PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth"), TaskSpec("normals")), (48, 64))
TOKENS, WIDTH, BLOCKS = 1 + 6 * 8, 96, 4


@cache
def single() -> MultiTaskModel:
    torch.manual_seed(0)
    return SingleTask(SingleTask.Options(), "vit-micro").build(PROBLEM).eval()


@cache
def multi() -> MultiTaskModel:
    torch.manual_seed(0)
    return MultiTask(MultiTask.Options(), "vit-micro").build(PROBLEM).eval()


@cache
def shared(**options: object) -> SharedNets:
    torch.manual_seed(0)
    method = Share(ShareOptions.model_validate(options), "vit-micro")
    model = method.Accounting(method).untrained(PROBLEM)
    assert isinstance(model, SharedNets)
    return model.eval()


MODELS = {"single-task": single, "multi-task": multi, "share": shared}


def clip(frames: int = 4, batch: int = 1, step: float = 0.1, seed: int = 0) -> list[Tensor]:
    """Return frames of which a fifth of the pixels change by some noise each time."""
    draw = torch.Generator().manual_seed(seed)
    images = [torch.randn(batch, 3, 48, 64, generator=draw)]
    while len(images) < frames:
        where = torch.rand(batch, 1, 48, 64, generator=draw) > 0.8
        images.append(images[-1] + step * torch.randn(batch, 3, 48, 64, generator=draw) * where)
    return images


def dense(model: MultiTaskModel, image: Tensor) -> dict[str, Tensor]:
    """Return the predictions of a dense run."""
    with torch.inference_mode():
        if isinstance(model, SharedNets):
            with model.executed_as(mode="dense"):
                return model(image)
        return model(image)
