"""InvPT on a Swin: a variant of ours."""

from typing import ClassVar

from torch import Tensor, nn

from harness.backbones.swin import SwinEncoder
from harness.baselines.invpt.decoder import stage_widths
from harness.baselines.invpt.designs import Design
from harness.baselines.invpt.model import InvPTModel
from harness.baselines.invpt.pyramid import stage_sizes
from harness.counting import attributed_to
from harness.problem import Problem

_READ = (1, 2, 3)
"""Levels of the encoder at strides 8, 16 and 32."""


class InvPTOnSwin(InvPTModel):
    """A Swin, whose levels at strides 32, 16 and 8 have the sizes of the three stages.

    The published decoder enlarges and halves maps of one size; here convolutions bring every level to the width of its
    stage, and none is resized. All other layers, keys and shapes are those on a ViT.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: The widths of the decoder.
    """

    backbone: SwinEncoder
    unused: ClassVar[tuple[str, ...]] = (*InvPTModel.unused, "backbone.norm0.")

    def __init__(self, problem: Problem, encoder: SwinEncoder, design: Design) -> None:
        height, width = problem.input_size
        fine, middle, last = (encoder.level_channels[level] for level in _READ)
        _, second, third = stage_widths(design)
        scale_embed = (nn.Conv2d(fine, third, 3, padding=1), nn.Conv2d(middle, second, 3, padding=1))
        super().__init__(problem, encoder, last, design, scale_embed, stage_sizes((-(-height // 8), -(-width // 8))))
        encoder.set_drop_path(design.drop_path)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the encoder at strides 8, 16 and 32."""
        with attributed_to("encoder"):  # it is not called as a module
            fine, middle, last = self.backbone.levels(images, _READ)
        return fine, middle, last
