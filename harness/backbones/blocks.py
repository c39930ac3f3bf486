"""Parts of encoders and decoders: residual blocks (He et al., CVPR 2016), and maps of several resolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.timm_parts import BasicBlock, Bottleneck


def basic_block(in_channels: int, out_channels: int, project: bool = False) -> BasicBlock:
    """Return two 3 x 3 convolutions with a shortcut: relu(x' + W2 relu(W1 x)), each convolution normed.

    Args:
        in_channels: Channels of the map that goes in.
        out_channels: Channels of the map that comes out.
        project: Whether the shortcut is a convolution even where the channels stay the same.
    """
    shortcut = _projection(in_channels, out_channels) if project or in_channels != out_channels else None
    return BasicBlock(in_channels, out_channels, downsample=shortcut)


def bottleneck(in_channels: int, out_channels: int) -> Bottleneck:
    """Return convolutions 1 x 1, 3 x 3 and 1 x 1 with a shortcut, a quarter of ``out_channels`` wide in between."""
    shortcut = _projection(in_channels, out_channels) if in_channels != out_channels else None
    return Bottleneck(in_channels, out_channels // Bottleneck.expansion, downsample=shortcut)


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


def at_finest(maps: list[Tensor]) -> Tensor:
    """Concatenate maps of several resolutions along the channels, each enlarged bilinearly to the size of the first."""
    return torch.cat([resize(map_, maps[0]) for map_ in maps], dim=1)


def resize(map_: Tensor, like: Tensor) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to the height and width of another, unless it has them already."""
    size = like.shape[-2:]
    return map_ if map_.shape[-2:] == size else F.interpolate(map_, size=size, mode="bilinear", align_corners=False)
