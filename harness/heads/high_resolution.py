"""The head of high-resolution networks (Wang et al., TPAMI 2021), as the multi-task baselines of the field use it."""

from torch import Tensor, nn
from torch.nn import functional as F


class HighResolutionHead(nn.Module):
    """Concatenated maps to a prediction at input size: two 1 x 1 convolutions, batch norm and ReLU in between.

    Args:
        in_channels: Channels of all maps together.
        out_channels: Channels of the prediction.
        output_size: (height, width) of the prediction.
    """

    def __init__(self, in_channels: int, out_channels: int, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size
        self.last_layer = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, C, h, w] to a raw prediction [B, out, H, W], resized bilinearly."""
        prediction = self.last_layer(features)
        return F.interpolate(prediction, size=self.output_size, mode="bilinear", align_corners=False)
