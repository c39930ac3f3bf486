"""MTI-Net as a plug-in."""

from collections.abc import Mapping
from typing import ClassVar

from harness.backbones import build_backbone
from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.common.auxiliary import AuxiliaryOptions, check_supervised, on_the_way
from harness.baselines.mti_net.model import MultiScaleNet
from harness.method import Budget, Method, Stage
from harness.problem import Problem
from harness.training.recipes import baseline_stage


class MTINet(Method):
    """Tasks predict, propagate features and distil at four scales; predictions of all scales are supervised."""

    name: ClassVar[str] = "mti-net"
    summary: ClassVar[str] = "tasks exchange features at every scale of an HRNet"
    paper: ClassVar[str | None] = (
        "S. Vandenhende, S. Georgoulis, L. Van Gool. MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task "
        "Learning. ECCV 2020"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "hrnet-micro", "full": "hrnet18-small"}
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
