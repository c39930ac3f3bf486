"""InvPT as a method (Ye and Xu, ECCV 2022)."""

from collections.abc import Mapping
from typing import ClassVar

from harness.backbones import build_backbone
from harness.backbones.swin import SwinEncoder
from harness.backbones.vit import ViTEncoder
from harness.baselines.invpt.decoder import design_on
from harness.baselines.invpt.model import InvPTModel, InvPTOnSwin, InvPTOnViT
from harness.method import Budget, Method, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage


class InvPT(Method):
    """Tasks and positions attend to each other at resolutions that grow.

    On ViTs the network is the one of the authors' code, under the same keys. On Swins it is a variant of ours, for the
    authors published none; `InvPTOnSwin` says how it reads them. Training is as published, but for the weight decay,
    which biases and norms are spared.
    """

    name: ClassVar[str] = "invpt"
    summary: ClassVar[str] = "a transformer decoder in which all tasks attend to each other at growing resolutions"
    paper: ClassVar[str | None] = (
        "H. Ye, D. Xu. Inverted Pyramid Multi-task Transformer for Dense Scene Understanding. ECCV 2022"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-l16"}
    families: ClassVar[tuple[str, ...]] = ("vit", "swin")

    def build(self, problem: Problem) -> InvPTModel:
        """Return the model, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        design = design_on(self.backbone)
        if isinstance(encoder, SwinEncoder):
            return InvPTOnSwin(problem, encoder, design)
        assert isinstance(encoder, ViTEncoder)
        return InvPTOnViT(problem, encoder, design)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks; intermediate predictions have the same losses and weights."""
        return [supervised_stage("joint", problem.names, budget)]
