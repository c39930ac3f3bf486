"""Heads of convolutional encoders, as the multi-task baselines of the field use them."""

from torch import Tensor, nn
from torch.nn import functional as F

from harness._torchvision import ensure_importable

ensure_importable()

from torchvision.models.segmentation.deeplabv3 import ASPP  # noqa: E402 - torchvision must be importable first

# Dilations and channels for a stride of 8 (Chen et al., Rethinking Atrous Convolution, 2017, section 4)
_RATES = (12, 24, 36)
_WIDTH = 256


class DeepLabHead(nn.Sequential):
    """Head of DeepLabv3: atrous spatial pyramid pooling, a 3 x 3 and a 1 x 1 convolution (Chen et al., 2017).

    It is torchvision's, with its keys, and resizes its prediction bilinearly. It is 256 wide as published, and no
    wider than half of the encoder's channels, which is less on the small encoders of this project alone.

    Args:
        in_channels: Channels of the encoder's map.
        out_channels: Channels of the prediction.
        output_size: (height, width) of the prediction.
    """

    def __init__(self, in_channels: int, out_channels: int, output_size: tuple[int, int]) -> None:
        width = min(_WIDTH, in_channels // 2)
        super().__init__(
            # Five branches (1 x 1, three dilated 3 x 3, the mean of the map), joined and projected: [B, width, h, w]
            ASPP(in_channels, _RATES, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, out_channels, 1),
        )
        self.output_size = output_size

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, C, h, w] to a raw prediction [B, out, H, W]."""
        for layer in self:
            features = layer(features)
        return F.interpolate(features, size=self.output_size, mode="bilinear", align_corners=False)


class HighResolutionHead(nn.Module):
    """Head of high-resolution networks: two 1 x 1 convolutions on concatenated maps (Wang et al., TPAMI 2021).

    Args:
        in_channels: Channels of all maps together.
        out_channels: Channels of the prediction.
        output_size: (height, width) of the prediction.
        hidden: Channels between the convolutions; None for as many as go in.
    """

    def __init__(
        self, in_channels: int, out_channels: int, output_size: tuple[int, int], hidden: int | None = None
    ) -> None:
        super().__init__()
        hidden = hidden or in_channels
        self.output_size = output_size
        self.last_layer = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, out_channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, C, h, w] to a raw prediction [B, out, H, W], resized bilinearly."""
        prediction = self.last_layer(features)  # [B, out, h, w]
        return F.interpolate(prediction, size=self.output_size, mode="bilinear", align_corners=False)
