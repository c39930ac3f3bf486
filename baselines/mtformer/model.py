"""MTFormer's network (Xu et al., ECCV 2022)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones import Encoder
from harness.baselines.common.reference import in_order
from harness.baselines.mtformer.contrast import MemoryBank, mapping
from harness.baselines.mtformer.heads import task_head
from harness.baselines.mtformer.layout import HEADS, ORDER, layout_of
from harness.baselines.mtformer.stacks import CrossTaskStack, SwinStack
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem

_MOST_TASKS = 99

CONTRAST = "contrast"
"""Prefix of the memory banks."""


class MTFormerNet(MultiTaskModel):
    """An encoder, blocks for all tasks, blocks for every task, and attention across tasks, all at stride 8.

    The keys of its weights are those of the authors' code.

    Args:
        problem: The tasks and the input size.
        encoder: A Swin.
        channels: Channels of the decoder's maps; 256 as published.

    Attributes:
        order: The tasks in the order of the authors' code.
        log_var_list: Logarithm of the uncertainty of every task in this order, by which training weighs their losses.
    """

    unused: ClassVar[tuple[str, ...]] = (
        "backbone.norm0.",
        "transformer1.patch_embed.",
        "transformer4.patch_embed.",
        "transformer5.patch_embed.",
        *(f"transformer4_{number}.patch_embed." for number in range(1, _MOST_TASKS + 1)),
        "mapping",
        CONTRAST,
    )

    def __init__(self, problem: Problem, encoder: Encoder, channels: int) -> None:
        super().__init__(problem)
        tasks = in_order(problem, ORDER)
        self.order = tuple(task.name for task in tasks)
        self.layout = layout = layout_of(self.order)
        scale = (layout.scaled_by * channels // HEADS) ** -0.5
        self.log_var_list = nn.Parameter(torch.zeros(len(tasks)))
        self.backbone = encoder
        self.decoder = nn.Conv2d(encoder.channels, channels, 1)
        self.transformer1 = SwinStack(channels, HEADS)
        for private, cross in zip(layout.private, layout.cross, strict=True):
            self.add_module(private, SwinStack(channels, HEADS))
            self.add_module(cross, CrossTaskStack(channels, len(tasks), HEADS, scale))
        for number, task in enumerate(tasks, 1):
            self.add_module(f"project{number}", task_head(task, channels))
        if layout.bank_rows is not None:
            for number in range(1, len(tasks) + 1):
                self.add_module(f"mapping{number}", mapping(channels))
            for one, other in combinations(range(1, len(tasks) + 1), 2):
                self.add_module(f"{CONTRAST}{one}{other}", MemoryBank(layout.bank_rows))

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; every task attends to all, so that those not asked for save their last stack and head alone."""
        shared = self.transformer1(self.decoder(self.backbone(images)).permute(0, 2, 3, 1))
        private = [self.get_submodule(name)(shared) for name in self.layout.private]
        return {task: self._predict(self.order.index(task), private) for task in tasks or self.problem.names}

    def _predict(self, index: int, private: Sequence[Tensor]) -> Tensor:
        others = [map_ for place, map_ in enumerate(private) if place != index]
        fused = self.get_submodule(self.layout.cross[index])(private[index], others)
        prediction = self.get_submodule(f"project{index + 1}")(fused.permute(0, 3, 1, 2))
        return F.interpolate(prediction, size=self.problem.input_size, mode="bilinear", align_corners=False)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, what follows it for all tasks, and what every task adds; not the few uncertainties."""
        parts = {"encoder": self.backbone, "reduction": self.decoder, "shared": self.transformer1}
        for index, task in enumerate(self.order):
            parts[f"private/{task}"] = self.get_submodule(self.layout.private[index])
            parts[f"cross/{task}"] = self.get_submodule(self.layout.cross[index])
            parts[f"head/{task}"] = self.get_submodule(f"project{index + 1}")
            if self.layout.bank_rows is not None:
                parts[f"mapping/{task}"] = self.get_submodule(f"mapping{index + 1}")
        return parts
