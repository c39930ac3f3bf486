"""NDDR-CNN (Gao et al., CVPR 2019) on dilated ResNets."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.parallel import ParallelMethod, ParallelNets
from harness.baselines.common.tasks import key_of
from harness.problem import Problem

_MOMENTUM = 0.05
"""Momentum of the units' batch norms, as published."""

_NAMES = ("conv", "layer1_without_conv", "layer2", "layer3", "layer4")


class NDDRUnit(nn.Module):
    """Neural discriminative dimensionality reduction: x_t <- relu(norm(W_t [x_1; ...; x_T])) (paper, section 3.2).

    Args:
        tasks: Names of the tasks, in the order in which their maps are concatenated.
        channels: Channels of every map.
        alpha: First weight of a channel of the task's own map.
        beta: First weight of the same channel of the others.
    """

    def __init__(self, tasks: Sequence[str], channels: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.layer = nn.ModuleDict()
        for task in tasks:
            reduce = nn.Conv2d(len(tasks) * channels, channels, 1, bias=False)
            # W = [beta I, ..., alpha I, ..., beta I]: at first a weighted sum of the tasks, channel by channel
            diagonals = [alpha if other == task else beta for other in tasks]
            with torch.no_grad():
                reduce.weight.copy_(torch.cat([value * torch.eye(channels) for value in diagonals], 1)[..., None, None])
            self.layer[key_of(task)] = nn.Sequential(reduce, nn.BatchNorm2d(channels, momentum=_MOMENTUM), nn.ReLU())

    def forward(self, maps: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Reduce maps [B, C, H, W] of all tasks to those of the tasks wanted, of the same shape."""
        joined = torch.cat([maps[task] for task in self.tasks], dim=1)  # [B, T C, H, W]
        return {task: self.layer[key_of(task)](joined) for task in wanted}


class NDDRNets(ParallelNets):
    """Networks side by side with an NDDR unit after the stem and after each of the four stages.

    Keys and numbers are those of Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021).

    Args:
        problem: The tasks and the input size.
        encoders: Task name to encoder.
        first: First weights of a task's own map and of each other's.
    """

    def __init__(self, problem: Problem, encoders: Mapping[str, ResNetEncoder], first: tuple[float, float]) -> None:
        super().__init__(problem, encoders)
        encoder = next(iter(encoders.values()))
        # Channels where features are joined: after the stem, then after each stage
        widths = (encoder.stem_channels, *encoder.stage_channels)
        self.nddr = nn.ModuleDict(
            {name: NDDRUnit(self.order, width, *first) for name, width in zip(_NAMES, widths, strict=True)}
        )

    @property
    def units(self) -> Sequence[nn.Module | None]:
        """One after the stem and one per stage."""
        return tuple(self.nddr.values())

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoders, heads and units; a task adds weights to the units of the others, too, which count there."""
        units = {
            task: nn.ModuleList(self.get_submodule(f"nddr.{name}.layer.{key_of(task)}") for name in _NAMES)
            for task in self.problem.names
        }
        return {**super().parts(), **{f"units/{task}": layers for task, layers in units.items()}}


class NDDRCNN(ParallelMethod):
    """One network per task; their features are concatenated and reduced after the stem and every stage."""

    name: ClassVar[str] = "nddr-cnn"
    summary: ClassVar[str] = "one network per task; features are concatenated and reduced after every stage"
    paper: ClassVar[str | None] = (
        "Y. Gao, J. Ma, M. Zhao, W. Liu, A. L. Yuille. NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by "
        "Neural Discriminative Dimensionality Reduction. CVPR 2019"
    )
    units: ClassVar[str] = "nddr."

    def build(self, problem: Problem) -> NDDRNets:
        """Return the model, untrained."""
        return NDDRNets(problem, self.encoders(problem), self.options.first_weights(len(problem.tasks)))
