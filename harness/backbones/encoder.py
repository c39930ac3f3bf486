"""Base class of encoders: channels, stride and notes, which heads and records read."""

from torch import nn


class Encoder(nn.Module):
    """An encoder: images [B, 3, H, W] to a feature map [B, channels, H / stride, W / stride], rounded up.

    Args:
        channels: Channels of the feature map.
        stride: Pixels of the image per cell of the feature map, along each side.
        cells: Cells per side that heads unfold one cell of the feature map into.

    Attributes:
        notes: Caveats about the weights it started from, copied to the warnings of records.
    """

    def __init__(self, channels: int, stride: int, cells: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride
        self.cells = cells
        self.notes: tuple[str, ...] = ()
