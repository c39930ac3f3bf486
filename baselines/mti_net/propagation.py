"""The feature propagation module of MTI-Net (Vandenhende et al., ECCV 2020, section 3.3)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.backbones.blocks import basic_block

_SQUEEZE = 16


class Excitation(nn.Module):
    """Weights channels by what the whole map holds (Hu et al., CVPR 2018).

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // _SQUEEZE
        self.squeeze = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())

    def forward(self, pooled: Tensor) -> Tensor:
        """Map the mean over a map [B, C] to the factors of its channels [B, C, 1, 1]."""
        factors: Tensor = self.squeeze(pooled)
        return factors[..., None, None]


class FeaturePropagation(nn.Module):
    """Passes the features of all tasks on to the next finer scale.

    A softmax meant to choose between the tasks mixes their concatenated features, which are reduced to the width of
    one task; every task adds what it makes of them to its own. As in the reference's code, and unlike the paper's
    text, the softmax does not run over the tasks: the N C concatenated channels are read as C groups of N neighbours,
    which mostly are channels of one task.

    Args:
        tasks: Names of the tasks, in the order of concatenation.
        channels: Channels of every task's features.
    """

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        wide = len(tasks) * channels
        self.non_linear = nn.Sequential(
            basic_block(wide, wide // 4), basic_block(wide // 4, wide // 4), nn.Conv2d(wide // 4, wide, 1)
        )
        self.dimensionality_reduction = basic_block(wide, channels, project=True)
        self.se = nn.ModuleDict({task: Excitation(channels) for task in tasks})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map features by task, [B, C, h, w], to features of the same shapes."""
        concatenated = torch.cat([features[task] for task in self.tasks], dim=1)
        b, wide, h, w = concatenated.shape
        groups = (b, wide // len(self.tasks), len(self.tasks), h, w)
        mask = self.non_linear(concatenated).view(groups).softmax(dim=2)
        shared = self.dimensionality_reduction((mask * concatenated.view(groups)).flatten(1, 2))
        pooled = shared.mean(dim=(2, 3))
        return {task: shared * self.se[task](pooled) + features[task] for task in self.tasks}
