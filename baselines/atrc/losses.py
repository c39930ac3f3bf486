"""Losses of ATRC's coarse predictions: cross-entropies over classes, bins of depth and directions of normals."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.atrc.model import BINS, CoarseOutput
from harness.data.sample import Batch
from harness.method import MultiTaskModel, TrainingOutput
from harness.training.parallel import summed

_WEIGHTS = {"semseg": 1.0, "depth": 1.0, "parts": 2.0, "saliency": 5.0, "normals": 10.0, "boundary": 50.0}
"""Weights of the losses, the same as those of the final predictions."""

_IGNORE = 255
_NEAREST_M, _FARTHEST_M = 0.7, 10.0
_BOUNDARY = 0.95
"""Weight of a boundary pixel; the others weigh 1 minus this."""


def coarse_losses(model: MultiTaskModel, batch: Batch, output: TrainingOutput) -> dict[str, Tensor]:
    """Return the weighted loss of every coarse prediction by name, over the whole batch: the objective of a stage.

    Args:
        model: The network.
        batch: Labels of the tasks.
        output: What the network gave, a `CoarseOutput`.
    """
    assert isinstance(output, CoarseOutput)
    losses = {}
    for task, logits in output.coarse.items():
        classes, weights = target_classes(task, batch.labels[task])
        sized = F.interpolate(logits.float(), size=classes.shape[-2:], mode="bilinear", align_corners=False)
        total = summed(F.cross_entropy(sized, classes, weights, ignore_index=_IGNORE, reduction="sum"))
        losses[f"coarse/{task}"] = _WEIGHTS.get(task, 1.0) * total / summed((classes != _IGNORE).sum()).clamp(min=1)
    return losses


def target_classes(task: str, label: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the class of every pixel, [B, H, W] with 255 where there is none, and the weights of the classes.

    Args:
        task: Name of the task.
        label: [B, 1, H, W], or [B, 3, H, W] for normals; 255 is ignored.
    """
    valid = label[:, 0] != _IGNORE
    if task == "depth":
        # Bins of equal ratio: floor(40 log(d / 0.7) / log(10 / 0.7)), those beyond at the ends
        ratio = (label[:, 0].clamp(min=1e-6) / _NEAREST_M).log() / math.log(_FARTHEST_M / _NEAREST_M)
        classes = (BINS * ratio).floor().clamp(0, BINS - 1)
    elif task == "normals":
        classes = torch.einsum("kc,bchw->bkhw", directions().to(label), label).argmax(1)
    else:
        classes = label[:, 0]
    classes = classes.long().masked_fill(~valid, _IGNORE)
    weights = None
    if task == "boundary":
        weights = label.new_tensor([1 - _BOUNDARY, _BOUNDARY])
    elif task == "saliency":  # each class weighs the fraction of the other
        salient = (summed((classes == 1).sum()) / summed(valid.sum()).clamp(min=1)).to(label)
        weights = torch.stack([salient, 1 - salient])
    return classes, weights


@cache
def directions() -> Tensor:
    """Return unit vectors that are spread evenly over the sphere, [40, 3]: a spiral by the golden angle.

    The authors' code has centres of clusters of the training set's normals instead, in a file next to their data.
    """
    number = torch.arange(BINS) + 0.5
    z = 1 - 2 * number / BINS
    turn = number * math.pi * (3 - math.sqrt(5))
    ring = (1 - z.square()).sqrt()
    return torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=1)
