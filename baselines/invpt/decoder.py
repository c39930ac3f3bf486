"""Decoder of InvPT: intermediate predictions of every task, then the inverted pyramid (paper, section 3)."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.baselines.invpt.pyramid import InvertedPyramid, Size


@dataclass(frozen=True)
class Design:
    """The decoder on an encoder.

    Attributes:
        channels: Width of the features before the pyramid.
        prediction_channels: What the pyramid is wider than them.
        drop_path: Fraction of images for which the last block of the encoder is left out in training; it grows linearly
            from none at the first.
        taps: For ViTs: numbers of blocks after which the third and the second stage read the encoder.
    """

    channels: int = 512
    prediction_channels: int = 64
    drop_path: float = 0.15
    taps: tuple[int, int] = (3, 6)


DESIGNS = {
    "vit-micro": Design(48, 16, drop_path=0.0, taps=(1, 2)),
    "vit-t16": Design(48, 16),
    "vit-s16": Design(96, 32),
    "vit-b16": Design(),
    "vit-l16": Design(taps=(6, 12)),
    "swin-micro": Design(48, 16, drop_path=0.0),
}
"""By encoder, where it is not that of ViT-B: all Swins but ours have its widths. ViT-L is as published; ViT-B is read
where later works of the authors read it (TaskPrompter, ICLR 2023). The smaller ones are ours."""


def design_on(backbone: str) -> Design:
    """Return the design of the decoder on an encoder, given its name."""
    return DESIGNS.get(backbone, Design())


class Decoder(nn.Module):
    """Features of an encoder at three resolutions to features and intermediate predictions of every task.

    Args:
        outputs: Channels of the predictions by key, in the order of the reference.
        encoder_channels: Channels of the encoder's last map.
        design: The widths.
        scale_embed: Bring the encoder's features to the width and the size of the third and the second stage; a third,
            as published checkpoints have, is kept and not run.
        sizes: Heights and widths of the stages.
    """

    def __init__(
        self,
        outputs: dict[str, int],
        encoder_channels: int,
        design: Design,
        scale_embed: Sequence[nn.Module],
        sizes: Sequence[Size],
    ) -> None:
        super().__init__()
        channels, widths = design.channels, stage_widths(design)
        self.scale_embed = nn.ModuleList(scale_embed)
        self.preliminary_decoder = nn.ModuleDict(
            {
                key: nn.Sequential(
                    _convolution(encoder_channels, encoder_channels), _convolution(encoder_channels, channels)
                )
                for key in outputs
            }
        )
        self.intermediate_head = nn.ModuleDict({key: nn.Conv2d(channels, n, 1) for key, n in outputs.items()})
        self.invpt = InvertedPyramid(outputs, channels, widths, sizes)
        self.apply(_init_linear)

    def forward(
        self, fine: Tensor, middle: Tensor, last: Tensor, wanted: Sequence[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Decode.

        Args:
            fine: What the skip connection of the third stage reads, [B, C, h, w].
            middle: What that of the second stage reads.
            last: The encoder's last map at the size of the first stage, [B, C, h, w] for all tasks or [T, B, C, h, w],
                one for each in the order of the reference.
            wanted: Keys of the tasks to return features of. All tasks attend to each other, so that the pyramid is
                computed for all in any case.

        Returns:
            Features of the tasks wanted, [B, widths[0], 2 h, 2 w] for (h, w) of the third stage; and intermediate
            predictions of all tasks at the size of the first stage.
        """
        lasts = last if last.ndim > 4 else [last] * len(self.preliminary_decoder)
        # [B, channels, h, w] per task, predictions [B, classes, h, w] from it, and both together
        features = {
            key: decode(map_) for (key, decode), map_ in zip(self.preliminary_decoder.items(), lasts, strict=True)
        }
        predictions = {key: head(features[key]) for key, head in self.intermediate_head.items()}
        mixed = {key: torch.cat([features[key], predictions[key]], dim=1) for key in features}
        # 3 x 3 convolutions to the widths of the second and the third stage
        skips = (self.scale_embed[1](middle), self.scale_embed[0](fine))
        return self.invpt(mixed, skips, wanted), predictions


def stage_widths(design: Design) -> tuple[int, int, int]:
    """Return the widths of the three stages: that of features and predictions together, a half and a quarter of it."""
    wide = design.channels + design.prediction_channels  # 576 = 512 + 64 as published
    return wide, wide // 2, wide // 4


def _convolution(before: int, channels: int) -> nn.Sequential:
    conv = nn.Conv2d(before, channels, 3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn1=nn.BatchNorm2d(channels), relu=nn.ReLU()))


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
