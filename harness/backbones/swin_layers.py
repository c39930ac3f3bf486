"""Layers of a Swin Transformer (Liu et al., ICCV 2021) under the names of the authors' code."""

from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.timm_parts import DropPath, Mlp
from harness.backbones.windows import WindowAttention, Windows


class PatchEmbed(nn.Module):
    """Images to a map of normed patches.

    Args:
        proj: Maps [B, in, H, W] to [B, channels, H/patch, W/patch].
        channels: Channels of a patch.
        patch: Side of a patch in pixels; images are padded with zeros to multiples of it.
    """

    def __init__(self, proj: nn.Module, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = proj
        self.norm = nn.LayerNorm(channels)
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, H/patch, W/patch, channels], rounded up."""
        below, right = (-side % self.patch for side in images.shape[-2:])
        if below or right:
            images = F.pad(images, (0, right, 0, below))
        normed: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))  # channels last
        return normed


class SwinBlock(nn.Module):
    """Attention in windows and an MLP, each normed before and added.

    Args:
        channels: Channels of a cell.
        heads: Attention heads.
        side: Rows and columns of a window.
        shifted: Whether windows are shifted by half their side.
    """

    def __init__(self, channels: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.side = side
        self.shift = side // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, side)
        self.drop_path: nn.Module = nn.Identity()
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, H, W, C] to the same shape."""
        windows = Windows(map_.shape[1], map_.shape[2], self.side, self.shift)
        mixed = self.attn(windows.cut(self.norm1(map_)), windows.mask(map_.device))  # [B n, side^2, C]
        map_ = map_ + self.drop_path(windows.join(mixed))
        result: Tensor = map_ + self.drop_path(self.mlp(self.norm2(map_)))
        return result


class PatchMerging(nn.Module):
    """Four cells to one of twice the channels; odd sizes are padded with zeros.

    Args:
        channels: Channels of a cell.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, H, W, C] to [B, H/2, W/2, 2C], rounded up."""
        b, height, width, channels = map_.shape
        if height % 2 or width % 2:
            map_ = F.pad(map_, (0, 0, 0, width % 2, 0, height % 2))
        # Every 2 x 2 cells to one: [B, H/2, W/2, 4C]
        squares = map_.view(b, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
        quarters = squares.permute(0, 1, 3, 4, 2, 5).flatten(3)  # the row changes faster than the column
        merged: Tensor = self.reduction(self.norm(quarters))
        return merged


class SwinStage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows.

    Args:
        channels: Channels of a cell.
        depth: Number of blocks.
        heads: Attention heads.
        side: Rows and columns of a window.
        merging: Whether `downsample` leads to a next stage.
    """

    def __init__(self, channels: int, depth: int, heads: int, side: int, merging: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(channels, heads, side, shifted=i % 2 == 1) for i in range(depth)))
        self.downsample = PatchMerging(channels) if merging else nn.Identity()

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, H, W, C] to the same shape, before merging."""
        result: Tensor = self.blocks(map_)
        return result


def set_drop_path(blocks: list[SwinBlock], largest: float) -> None:
    """Let blocks be left out at random in training, the later the likelier: from 0 to ``largest``."""
    for index, block in enumerate(blocks):
        block.drop_path = DropPath(largest * index / max(len(blocks) - 1, 1))


def init_swin(module: nn.Module) -> None:
    """Draw the weights of linear layers as the authors do; for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
