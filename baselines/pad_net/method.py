"""PAD-Net as a plug-in."""

from collections.abc import Mapping
from typing import ClassVar

from harness.backbones import build_backbone
from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.common.auxiliary import AuxiliaryOptions, check_supervised, on_the_way
from harness.baselines.pad_net.model import DistillationNet
from harness.method import Budget, Method, Stage
from harness.problem import Problem
from harness.training.recipes import baseline_stage

_WIDTHS = {"hrnet-micro": 32, "hrnet18-small": 256}
"""Channels of every task's features by encoder."""


class PADNet(Method):
    """Tasks make first predictions, exchange the features behind them, and predict again; both are supervised."""

    name: ClassVar[str] = "pad-net"
    summary: ClassVar[str] = "tasks exchange the features of first predictions, then predict again"
    paper: ClassVar[str | None] = (
        "D. Xu, W. Ouyang, X. Wang, N. Sebe. PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for "
        "Simultaneous Depth Estimation and Scene Parsing. CVPR 2018"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "hrnet-micro", "full": "hrnet18-small"}
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
