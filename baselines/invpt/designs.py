"""Where encoders are read, and how wide the decoder on them is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Design:
    """The decoder on an encoder.

    Attributes:
        channels: Width of the features before the pyramid.
        prediction_channels: What the pyramid is wider than them.
        drop_path: Share of images for which the last block of the encoder is left out in training; it grows linearly
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
