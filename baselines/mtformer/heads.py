"""MTFormer's heads: convolutions of single cells at stride 8 (Xu et al., ECCV 2022)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.common.reference import channels_of
from harness.problem import TaskSpec

_TYPICAL_DEPTH_M = 2.5


class Twice(nn.Module):
    """Enlarges a map two times, corners on corners; in a sequence it takes the place it has in checkpoints."""

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, 2H, 2W]."""
        return F.interpolate(map_, scale_factor=2, mode="bilinear", align_corners=True)


def task_head(task: TaskSpec, channels: int) -> nn.Sequential:
    """Return the head of a task, [B, channels, H, W] to its raw map at the same size or twice as large.

    Published are the heads of label tasks, saliency (one channel, not enlarged) and depth. Normals and boundaries,
    which the authors have not, are predicted like labels.
    """
    if task.name == "depth":
        return _depth_head(channels)
    layers = [
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels_of(task), 1),
    ]
    return nn.Sequential(*layers) if task.name == "saliency" else nn.Sequential(*layers, Twice())


def _depth_head(channels: int) -> nn.Sequential:
    """Return the head of depth, which is never negative.

    It starts from a typical distance: from 0 m, where the last activation passes no gradient, training might never
    leave.
    """
    widths = (channels, channels // 2, channels // 8, 1)
    first, second, last = (nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
    assert last.bias is not None
    nn.init.constant_(last.bias, _TYPICAL_DEPTH_M)
    return nn.Sequential(first, Twice(), second, nn.ReLU(), last, nn.ReLU())
