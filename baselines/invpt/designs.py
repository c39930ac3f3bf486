"""Where encoders are read, and how wide the decoder on them is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViTDesign:
    """The decoder on a ViT.

    Attributes:
        taps: Number of blocks after which the third and the second stage read the encoder.
        channels: Width of the features before the pyramid.
        prediction_channels: What the pyramid is wider than them.
        drop_path: Share of images for which the last block of the encoder is left out in training; it grows linearly
            from none at the first.
    """

    taps: tuple[int, int]
    channels: int
    prediction_channels: int
    drop_path: float = 0.15


VITS = {
    "vit-micro": ViTDesign((1, 2), 48, 16, drop_path=0.0),
    "vit-t16": ViTDesign((3, 6), 48, 16),
    "vit-s16": ViTDesign((3, 6), 96, 32),
    "vit-b16": ViTDesign((3, 6), 512, 64),
    "vit-l16": ViTDesign((6, 12), 512, 64),
}
"""By encoder. ViT-L is as published; ViT-B is read where the later works of the authors read it (TaskPrompter, ICLR
2023), with the same decoder. The smaller ones are ours."""
