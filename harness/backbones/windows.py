"""Attention within the windows of a map, regular and shifted (Liu et al., ICCV 2021, section 3.2).

The keys of the weights are those of the authors' code, which multi-task networks on a Swin keep in their checkpoints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_APART = -100.0
"""Added to the attention between cells that the shift made neighbours; the value is the authors'."""


@dataclass(frozen=True)
class Windows:
    """Partition of a map [B, H, W, C] into square windows.

    The map is padded with zeros at the right and the bottom up to whole windows, and then shifted, in this order. As in
    the authors' code, and unlike in timm's and torchvision's, it is shifted even where one window covers it.

    Attributes:
        height: Rows of the map.
        width: Columns of the map.
        side: Rows and columns of a window.
        shift: Cells by which the map is rolled up and left before it is cut; less than ``side``.
    """

    height: int
    width: int
    side: int
    shift: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return -(-self.height // self.side), -(-self.width // self.side)

    def cut(self, map_: Tensor) -> Tensor:
        """Return the windows of all maps, [B, H, W, C] to [B n, side^2, C], those of one map next to each other."""
        (rows, columns), side = self.grid, self.side
        below, right = rows * side - self.height, columns * side - self.width
        if below or right:
            map_ = F.pad(map_, (0, 0, 0, right, 0, below))
        if self.shift:
            map_ = map_.roll((-self.shift, -self.shift), (1, 2))
        # [B, rows, side, columns, side, C] with the two sides brought together
        split = map_.view(-1, rows, side, columns, side, map_.shape[-1])
        return split.transpose(2, 3).reshape(-1, side**2, map_.shape[-1])

    def join(self, windows: Tensor) -> Tensor:
        """Undo `cut`: [B n, side^2, C] to [B, H, W, C]."""
        (rows, columns), side = self.grid, self.side
        split = windows.view(-1, rows, columns, side, side, windows.shape[-1]).transpose(2, 3)
        map_ = split.reshape(-1, rows * side, columns * side, windows.shape[-1])
        if self.shift:
            map_ = map_.roll((self.shift, self.shift), (1, 2))
        return map_[:, : self.height, : self.width]

    def mask(self, device: torch.device) -> Tensor | None:
        """Return what keeps cells apart that only the shift brought into one window; None without a shift.

        Returns:
            [n, 1, side^2, side^2], to be added to the attention of one map before its softmax.
        """
        if not self.shift:
            return None
        # Region of every cell along both axes: 0 in place, 1 in the last window, 2 rolled in from the other end
        rows, columns = (self._regions(count, device) for count in self.grid)
        cells = 3 * rows[:, None, :, None] + columns[None, :, None, :]  # [rows, columns, side, side]
        regions = cells.flatten(2).flatten(0, 1)  # [n, side^2]
        apart = regions[:, None, :] != regions[:, :, None]  # [n, side^2, side^2]
        return torch.zeros(apart.shape, device=device).masked_fill_(apart, _APART)[:, None]

    def _regions(self, count: int, device: torch.device) -> Tensor:
        """Return the region of every cell along an axis of ``count`` windows, [count, side].

        What lay at the other end of the map before the shift is a separate region, and so is the rest of the last
        window.
        """
        place = torch.arange(count * self.side, device=device)
        last = count * self.side - self.side
        return ((place >= last).long() + (place >= last + self.side - self.shift)).view(count, self.side)


class WindowBias(nn.Module):
    """Attention in windows with a learned bias for every offset between two cells; says not what attends to what.

    Args:
        heads: Attention heads.
        side: Rows and columns of a window.
    """

    def __init__(self, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", offsets(side))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Attend within windows.

        Args:
            query: [B n, heads, N, channels of a head] for windows of N cells.
            key: As ``query``.
            value: As ``query``.
            mask: `Windows.mask`, [n, 1, N, N].
            scale: Factor of the products of queries and keys.

        Returns:
            [B n, N, channels].
        """
        # softmax(scale q k^T + bias of the offset + mask) v (paper, equation 4)
        cells = query.shape[2]
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(cells, cells, self.heads).permute(2, 0, 1)[None]  # [1, heads, N, N]
        if mask is not None:
            # [B n, heads, N, N]: masks of one map, repeated for every image
            bias = (bias + mask).repeat(query.shape[0] // mask.shape[0], 1, 1, 1)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=scale
        )  # [B n, heads, N, C/heads]
        return mixed.transpose(1, 2).flatten(2)


class WindowAttention(WindowBias):
    """Self-attention in windows.

    Args:
        channels: Channels of a cell.
        heads: Attention heads, a divisor of ``channels``.
        side: Rows and columns of a window.
    """

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__(heads, side)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows [B n, N, C] to the same shape; the mask is `Windows.mask`."""
        query, key, value = split_heads(self.qkv(windows), 3, self.heads)
        mixed = self.attend(query, key, value, mask, scale=query.shape[-1] ** -0.5)
        projected: Tensor = self.proj(mixed)
        return projected


def split_heads(features: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Return ``parts`` equal parts of the channels, each by head: [n, N, C] to [n, heads, N, C / parts / heads]."""
    n, cells, channels = features.shape
    split = features.view(n, cells, parts, heads, channels // parts // heads)
    return split.permute(2, 0, 3, 1, 4).unbind(0)


def offsets(side: int) -> Tensor:
    """Return the row of the bias table for every two cells of a window, [side^2, side^2].

    Offsets between rows and columns both run from 1 - side to side - 1 and are counted row by row.
    """
    place = torch.arange(side)
    between = place[:, None] - place[None, :] + side - 1  # offsets along one axis, from 0: [side, side]
    index = between[:, None, :, None] * (2 * side - 1) + between[None, :, None, :]
    return index.reshape(side**2, side**2)
