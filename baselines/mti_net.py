"""MTI-Net: tasks exchange features at four scales (Vandenhende et al., ECCV 2020)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.backbones.blocks import at_finest, basic_block, resize
from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.common.interaction import (
    AuxiliaryModel,
    AuxiliaryOptions,
    Distillation,
    TaskMaps,
    check_supervised,
    on_the_way,
)
from harness.baselines.common.tasks import channels_of, in_order, key_of
from harness.counting.parts import attributed_to
from harness.heads.convolutional import HighResolutionHead
from harness.method import Budget, Method, Stage
from harness.model import Predictions
from harness.problem import Problem, TaskSpec
from harness.training.recipes import baseline_stage

_SQUEEZE = 16
"""Reduction of squeeze and excitation, as published."""


class Excitation(nn.Module):
    """Squeeze and excitation: factors of channels from the mean of the map (Hu et al., CVPR 2018).

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
        return factors[..., None, None]  # to be broadcast over the map


class FeaturePropagation(nn.Module):
    """Passes the features of all tasks on to the next finer scale (paper, section 3.3).

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
        # 1. All tasks together, F = [f_1; ...; f_N]: [B, N C, h, w]
        concatenated = torch.cat([features[task] for task in self.tasks], dim=1)
        b, wide, h, w = concatenated.shape
        # 2. Softmax over N neighbouring channels, F * softmax(g(F)), reduced to the width of one task: [B, C, h, w]
        groups = (b, wide // len(self.tasks), len(self.tasks), h, w)
        mask = self.non_linear(concatenated).view(groups).softmax(dim=2)
        shared = self.dimensionality_reduction((mask * concatenated.view(groups)).flatten(1, 2))
        # 3. Squeeze and excitation per task, as a residual: f_t + s_t * shared
        pooled = shared.mean(dim=(2, 3))  # [B, C]
        return {task: shared * self.se[task](pooled) + features[task] for task in self.tasks}


class Scale(nn.Module):
    """Makes features of every task at one scale, and first predictions from them (paper, section 3.1).

    Tasks have the reference's names.

    Args:
        tasks: The tasks.
        in_channels: Channels of what every task reads.
        channels: Channels of the features.
    """

    def __init__(self, tasks: Sequence[TaskSpec], in_channels: int, channels: int) -> None:
        super().__init__()
        self.refinement = nn.ModuleDict(
            {
                key_of(task.name): nn.Sequential(basic_block(in_channels, channels), basic_block(channels, channels))
                for task in tasks
            }
        )
        self.decoders = nn.ModuleDict({key_of(task.name): nn.Conv2d(channels, channels_of(task), 1) for task in tasks})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map inputs by task, [B, in_channels, h, w], to features [B, channels, h, w]."""
        return {task: self.refinement[task](map_) for task, map_ in inputs.items()}

    def predict(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map features by task to raw predictions of the same height and width."""
        return {task: self.decoders[task](map_) for task, map_ in features.items()}


class MultiScaleNet(AuxiliaryModel):
    """Tasks predict at every scale of an HRNet, pass features on to the next finer one, and distil at each.

    Keys and numbers are those of ``MTINet`` in Multi-Task-Learning-PyTorch.

    Args:
        problem: The tasks and the input size.
        encoder: Gives the maps of the four scales.
        auxiliary: Tasks of the intermediate predictions, those of the problem among them, in the reference's order.
    """

    def __init__(self, problem: Problem, encoder: HRNetEncoder, auxiliary: Sequence[TaskSpec]) -> None:
        super().__init__(problem)
        tasks = in_order(problem)
        keys = [key_of(task.name) for task in auxiliary]
        c0, c1, c2, c3 = encoder.scale_channels  # at strides 4, 8, 16 and 32
        self.backbone = encoder
        self.scale_0 = Scale(auxiliary, c0 + c1, c0)
        self.scale_1 = Scale(auxiliary, c1 + c2, c1)
        self.scale_2 = Scale(auxiliary, c2 + c3, c2)
        self.scale_3 = Scale(auxiliary, c3, c3)
        self.fpm_scale_1 = FeaturePropagation(keys, c1)
        self.fpm_scale_2 = FeaturePropagation(keys, c2)
        self.fpm_scale_3 = FeaturePropagation(keys, c3)
        self.distillation_scale_0 = Distillation(tasks, auxiliary, c0)
        self.distillation_scale_1 = Distillation(tasks, auxiliary, c1)
        self.distillation_scale_2 = Distillation(tasks, auxiliary, c2)
        self.distillation_scale_3 = Distillation(tasks, auxiliary, c3)
        self.heads = nn.ModuleDict(
            {
                key_of(task.name): HighResolutionHead(encoder.channels, channels_of(task), problem.input_size)
                for task in tasks
            }
        )

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; the predictions of the scales, which nothing depends on, are left out."""
        return self._decode(self._features(images), tasks)

    def with_auxiliary(
        self, images: Tensor, tasks: Sequence[str] | None = None
    ) -> tuple[Predictions, tuple[TaskMaps, ...]]:
        """Predict, and return the predictions of the four scales, finest first: [B, C, H/s, W/s], s = 4, 8, 16, 32."""
        features = self._features(images)
        scales = (self.scale_0, self.scale_1, self.scale_2, self.scale_3)
        return self._decode(features, tasks), tuple(
            scale.predict(maps) for scale, maps in zip(scales, features, strict=True)
        )

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, the modules of the scales, and one head per task."""
        # fpm_scale_s, scale_s and distillation_scale_s
        shared = {name: module for name, module in self.named_children() if "scale_" in name}
        heads = {f"head/{task}": self.heads[key_of(task)] for task in self.problem.names}
        return {"encoder": self.backbone} | shared | heads

    def _features(self, images: Tensor) -> tuple[TaskMaps, ...]:
        """Return the features of every task at every scale, finest first."""
        with attributed_to("encoder"):
            map0, map1, map2, map3 = self.backbone.scales(images)  # [B, c_s, H/4, W/4] to [B, c_s, H/32, W/32]
        # From coarse to fine: every task reads the encoder's map and its own propagated features of the scale below
        features3 = self.scale_3(dict.fromkeys(self.fpm_scale_3.tasks, map3))
        features2 = self.scale_2(_joined(map2, self.fpm_scale_3(features3)))
        features1 = self.scale_1(_joined(map1, self.fpm_scale_2(features2)))
        features0 = self.scale_0(_joined(map0, self.fpm_scale_1(features1)))
        return features0, features1, features2, features3

    def _decode(self, features: Sequence[TaskMaps], tasks: Sequence[str] | None) -> Predictions:
        """Distil at every scale and predict from all of them."""
        names = tasks or self.problem.names
        keys = [key_of(task) for task in names]
        modules = (
            self.distillation_scale_0,
            self.distillation_scale_1,
            self.distillation_scale_2,
            self.distillation_scale_3,
        )
        # Per scale, then all scales concatenated at stride 4: [B, c0 + c1 + c2 + c3, H/4, W/4]
        distilled = [module(maps, keys) for module, maps in zip(modules, features, strict=True)]
        return {
            name: self.heads[key](at_finest([maps[key] for maps in distilled]))
            for name, key in zip(names, keys, strict=True)
        }


def _joined(map_: Tensor, coarser: TaskMaps) -> TaskMaps:
    """Concatenate a map of the encoder with every task's features of the scale below, enlarged to its size."""
    return {task: torch.cat([map_, resize(features, map_)], dim=1) for task, features in coarser.items()}


class MTINet(Method):
    """Tasks predict, propagate features and distil at four scales; predictions of all scales are supervised."""

    name: ClassVar[str] = "mti-net"
    summary: ClassVar[str] = "tasks exchange features at every scale of an HRNet"
    paper: ClassVar[str | None] = (
        "S. Vandenhende, S. Georgoulis, L. Van Gool. MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task "
        "Learning. ECCV 2020"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {
        "quick": "hrnet-micro",
        "medium": "hrnet18-small",
        "full": "hrnet18-small",
    }
    families: ClassVar[tuple[str, ...]] = ("hrnet",)
    Options: ClassVar[type[AuxiliaryOptions]] = AuxiliaryOptions
    options: AuxiliaryOptions

    def build(self, problem: Problem) -> MultiScaleNet:
        """Return the model, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, HRNetEncoder)
        return MultiScaleNet(problem, encoder, on_the_way(problem, self.options.auxiliary))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks.

        Raises:
            UsageError: there are auxiliary tasks without labels.
        """
        check_supervised(problem, self.options.auxiliary, self.name)
        return [baseline_stage(self.backbone, "joint", problem.names, budget)]
