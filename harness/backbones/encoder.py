"""What every encoder tells its heads."""

from torch import nn


class Encoder(nn.Module):
    """An encoder: images [B, 3, H, W] to a feature map [B, channels, H / stride, W / stride].

    Args:
        channels: Channels of the feature map.
        stride: Pixels of the image per cell of the feature map, along each side.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride
