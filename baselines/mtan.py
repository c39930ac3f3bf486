"""The multi-task attention network (Liu et al., CVPR 2019) on a dilated ResNet."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.backbones.blocks import bottleneck
from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.tasks import head_for, in_order, key_of
from harness.counting import attributed_to
from harness.method import Budget, Method, MultiTaskModel, Predictions, Stage
from harness.problem import Problem
from harness.training.recipes import baseline_stage

_SQUEEZE = 4
"""Reduction inside the networks of the masks, as in the reference."""

_STAGES = (1, 2, 3, 4)


class AttentionNet(MultiTaskModel):
    """A shared encoder whose last block in every stage each task masks for itself.

    Keys and numbers are those of Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021). A mask is made from what
    goes into the last block of a stage and from the task's masked features of the stage before, which a block shared
    by all tasks brings to the width of this stage.

    Args:
        problem: The tasks and the input size.
        encoder: What all tasks read.
    """

    def __init__(self, problem: Problem, encoder: ResNetEncoder) -> None:
        super().__init__(problem)
        tasks = in_order(problem)
        widths = encoder.stage_channels
        self.backbone = encoder
        self.heads = nn.ModuleDict({key_of(task.name): head_for(task, encoder, problem.input_size) for task in tasks})
        for stage, width in zip(_STAGES, widths, strict=True):
            inputs = width if stage == 1 else 2 * width
            # h: two 1 x 1 convolutions with norms to values between 0 and 1
            masks = nn.ModuleDict({key_of(task.name): _mask_network(inputs, width) for task in tasks})
            self.add_module(f"attention_{stage}", masks)
        for stage, (width, wider) in zip(_STAGES, pairwise(widths), strict=False):
            self.add_module(f"refine_{stage}", nn.Sequential(bottleneck(width, wider)))
        # The only stage after which the encoder halves its map; odd sides are rounded up, as it does
        self.halve = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Encode once, then mask the features for every task asked for and decode them."""
        wanted = tuple(tasks or self.problem.names)
        attended: dict[str, Tensor] = {}
        with attributed_to("encoder"):
            shared = self.backbone.stem(images)
        for stage in _STAGES:
            with attributed_to("encoder"):
                # u: input of the last block, [B, C, h, w]; p: its output, of the same shape
                *blocks, last = self.backbone.stages[stage - 1]
                for block in blocks:
                    shared = block(shared)
                before, shared = shared, last(shared)
            # a_t = mask_t * p, with mask_t = sigmoid(h([u; refined a_t of the stage before])) (paper, equation 2)
            for task in wanted:
                inputs = torch.cat((before, attended[task]), dim=1) if task in attended else before
                attended[task] = self._masks(stage)[key_of(task)](inputs) * shared
            if stage != _STAGES[-1]:  # to the width and the size of the next stage
                refine = self.get_submodule(f"refine_{stage}")
                attended = {task: refine(map_) for task, map_ in attended.items()}
            if stage == 1:
                attended = {task: self.halve(map_) for task, map_ in attended.items()}
        return {task: self.heads[key_of(task)](map_) for task, map_ in attended.items()}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, the blocks between stages, and the masks and the head of every task."""
        parts: dict[str, nn.Module] = {"encoder": self.backbone}
        parts["refinement"] = nn.ModuleList(self.get_submodule(f"refine_{stage}") for stage in _STAGES[:-1])
        for task in self.problem.names:
            parts[f"attention/{task}"] = nn.ModuleList(self._masks(stage)[key_of(task)] for stage in _STAGES)
            parts[f"head/{task}"] = self.heads[key_of(task)]
        return parts

    def _masks(self, stage: int) -> nn.ModuleDict:
        masks = self.get_submodule(f"attention_{stage}")
        assert isinstance(masks, nn.ModuleDict)
        return masks


def _mask_network(inputs: int, outputs: int) -> nn.Sequential:
    """Return the network of a mask: two 1 x 1 convolutions to values between 0 and 1."""
    inner = outputs // _SQUEEZE
    return nn.Sequential(
        nn.Conv2d(inputs, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, outputs, 1),
        nn.BatchNorm2d(outputs),
        nn.Sigmoid(),
    )


class MTAN(Method):
    """One shared encoder; every task masks its features stage by stage."""

    name: ClassVar[str] = "mtan"
    summary: ClassVar[str] = "one shared encoder; every task masks the features of its stages"
    paper: ClassVar[str | None] = (
        "S. Liu, E. Johns, A. J. Davison. End-to-End Multi-Task Learning with Attention. CVPR 2019"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {
        "quick": "resnet-micro",
        "medium": "resnet18",
        "full": "resnet50",
    }
    families: ClassVar[tuple[str, ...]] = ("resnet",)

    def build(self, problem: Problem) -> AttentionNet:
        """Return the model, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, ResNetEncoder)
        return AttentionNet(problem, encoder)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks; ``full`` is the recipe of the shared-encoder baseline, as published.

        That is Adam, 1e-4, for 100 epochs, both for NYUD on ResNet-50 and for PASCAL on ResNet-18.
        """
        return [baseline_stage(self.backbone, "joint", problem.names, budget)]
