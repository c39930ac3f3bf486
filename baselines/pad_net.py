"""PAD-Net: first predictions of all tasks guide the final ones (Xu et al., CVPR 2018)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.backbones.blocks import bottleneck
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
from harness.method import Budget, Method, Stage
from harness.model import Predictions
from harness.problem import Problem, TaskSpec
from harness.training.recipes import baseline_stage


class Fusion(nn.Module):
    """Mixes the concatenated maps of an HRNet.

    Args:
        channels: Channels of all maps together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.last_layer = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        # 1 x 1 convolution, norm, ReLU
        fused: Tensor = self.last_layer(features)
        return fused


class InitialHeads(nn.Module):
    """Makes features of every task, and first predictions from them (paper, section 3.2).

    Tasks have the reference's names.

    Args:
        tasks: The tasks.
        in_channels: Channels of the encoder's map.
        channels: Channels of the features.
    """

    def __init__(self, tasks: Sequence[TaskSpec], in_channels: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {
                key_of(task.name): nn.Sequential(bottleneck(in_channels, channels), bottleneck(channels, channels))
                for task in tasks
            }
        )
        self.conv_out = nn.ModuleDict({key_of(task.name): nn.Conv2d(channels, channels_of(task), 1) for task in tasks})

    def forward(self, features: Tensor) -> TaskMaps:
        """Map the encoder's map to the features of every task, [B, channels, h, w]."""
        return {task: layers(features) for task, layers in self.layers.items()}

    def predict(self, features: Mapping[str, Tensor]) -> TaskMaps:
        """Map features by task to raw predictions of the same height and width."""
        return {task: self.conv_out[task](map_) for task, map_ in features.items()}


class DistillationNet(AuxiliaryModel):
    """Tasks predict from features, exchange these once, and predict again, all at a quarter of the input (section 3).

    Keys and numbers are those of ``PADNet`` in Multi-Task-Learning-PyTorch, which puts the method on an HRNet.

    Args:
        problem: The tasks and the input size.
        encoder: What all tasks read.
        auxiliary: Tasks of the first predictions, those of the problem among them, in the reference's order.
        width: Channels of every task's features.
    """

    def __init__(self, problem: Problem, encoder: HRNetEncoder, auxiliary: Sequence[TaskSpec], width: int) -> None:
        super().__init__(problem)
        tasks = in_order(problem)
        self.backbone = nn.Sequential(encoder, Fusion(encoder.channels))
        self.initial_task_prediction_heads = InitialHeads(auxiliary, encoder.channels, width)
        self.multi_modal_distillation = Distillation(tasks, auxiliary, width)
        self.heads = nn.ModuleDict(
            {
                key_of(task.name): nn.Sequential(
                    bottleneck(width, width), bottleneck(width, width), nn.Conv2d(width, channels_of(task), 1)
                )
                for task in tasks
            }
        )

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; the first predictions, which nothing depends on, are left out."""
        return self._decode(self.initial_task_prediction_heads(self.backbone(images)), tasks)

    def with_auxiliary(
        self, images: Tensor, tasks: Sequence[str] | None = None
    ) -> tuple[Predictions, tuple[TaskMaps, ...]]:
        """Predict, and return the first predictions, [B, C, H/4, W/4]."""
        features = self.initial_task_prediction_heads(self.backbone(images))  # [B, width, H/4, W/4] per task
        return self._decode(features, tasks), (self.initial_task_prediction_heads.predict(features),)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, the modules that all tasks share, and one head per task."""
        encoder, fusion = self.backbone  # in one sequence, as in the reference's keys
        shared = {
            "fusion": fusion,
            "initial": self.initial_task_prediction_heads,
            "distillation": self.multi_modal_distillation,
        }
        heads = {f"head/{task}": self.heads[key_of(task)] for task in self.problem.names}
        return {"encoder": encoder} | shared | heads

    def _decode(self, features: Mapping[str, Tensor], tasks: Sequence[str] | None) -> Predictions:
        names = tasks or self.problem.names
        # f_t + sum over the other tasks (paper, section 3.3, C); then the heads, and the size of the input
        distilled = self.multi_modal_distillation(features, [key_of(name) for name in names])
        return {name: self.enlarged(self.heads[key_of(name)](distilled[key_of(name)])) for name in names}


# 256 as in the reference; ours has an eighth
_WIDTHS = {"hrnet-micro": 32, "hrnet18-small": 256, "hrnet48": 256}
"""Channels of every task's features by encoder; that of HRNet-48 is ours, as wide as the published one."""


class PADNet(Method):
    """Tasks make first predictions, exchange the features behind them, and predict again; both are supervised."""

    name: ClassVar[str] = "pad-net"
    summary: ClassVar[str] = "tasks exchange the features of first predictions, then predict again"
    paper: ClassVar[str | None] = (
        "D. Xu, W. Ouyang, X. Wang, N. Sebe. PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for "
        "Simultaneous Depth Estimation and Scene Parsing. CVPR 2018"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {
        "quick": "hrnet-micro",
        "medium": "hrnet18-small",
        "full": "hrnet18-small",
    }
    families: ClassVar[tuple[str, ...]] = ("hrnet",)
    Options: ClassVar[type[AuxiliaryOptions]] = AuxiliaryOptions
    options: AuxiliaryOptions

    def build(self, problem: Problem) -> DistillationNet:
        """Return the model, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, HRNetEncoder)
        tasks = on_the_way(problem, self.options.auxiliary)
        return DistillationNet(problem, encoder, tasks, _WIDTHS[self.backbone])

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks.

        Raises:
            UsageError: there are auxiliary tasks without labels.
        """
        check_supervised(problem, self.options.auxiliary, self.name)
        return [baseline_stage(self.backbone, "joint", problem.names, budget)]
