"""MTFormer's stacks of Swin blocks: of one task's features, and across tasks (Xu et al., ECCV 2022)."""

from collections.abc import Sequence

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from harness.backbones.swin_layers import PatchEmbed, SwinStage, init_swin
from harness.backbones.windows import WindowBias, Windows, split_heads

# Sizes of the authors' code: blocks of a stack, rows and columns of a window, side of the dead patch embedding
_BLOCKS = 2
_SIDE = 7
_PATCH = 4


class SwinStack(nn.Module):
    """Two Swin blocks, the second with shifted windows, and a norm.

    Args:
        channels: Channels of the map.
        heads: Attention heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        # Left over from the encoder whose code the authors reused, and in their checkpoints: nothing reads it.
        self.patch_embed = PatchEmbed(nn.Conv2d(channels, channels, _PATCH, stride=_PATCH), channels, _PATCH)
        self.layers = nn.Sequential(SwinStage(channels, _BLOCKS, heads, _SIDE, merging=False))
        self.norm0 = nn.LayerNorm(channels)
        self.apply(init_swin)

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, H, W, C] to the same shape."""
        normed: Tensor = self.norm0(self.layers(map_))
        return normed


class CrossTaskAttention(WindowBias):
    """Attention in windows whose pattern and content come from different maps.

    Args:
        channels: Channels of a cell.
        heads: Attention heads, a divisor of ``channels``.
        side: Rows and columns of a window.
        scale: Factor of the products of queries and keys.
    """

    def __init__(self, channels: int, heads: int, side: int, scale: float) -> None:
        super().__init__(heads, side)
        self.scale = scale
        self.qkv = nn.Linear(channels, 2 * channels)
        self.qkv2 = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, patterns: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attend to the same values in several patterns.

        Args:
            patterns: Windows of m maps, which give queries and keys, [m n, N, C], map by map.
            values: Windows of one map, which give the values, [n, N, C].
            mask: `Windows.mask`.

        Returns:
            [m n, N, C], map by map.
        """
        query, key = split_heads(self.qkv(patterns), 2, self.heads)  # each [m n, heads, N, C/heads]
        # Projected once per pattern, as the authors' code does it: what a forward pass costs is theirs.
        (value,) = split_heads(self.qkv2(values.repeat(patterns.shape[0] // values.shape[0], 1, 1)), 1, self.heads)
        projected: Tensor = self.proj(self.attend(query, key, value, mask, self.scale))
        return projected


class CrossTaskBlock(nn.Module):
    """A Swin block in which every task supplies a pattern of attention to the features of one.

    The results of all patterns go through an MLP each and are fused by another. The widths are as published for two and
    three tasks: the task's own pattern keeps all channels, and the others together have as many.

    Args:
        channels: Channels of the map of a task.
        tasks: Number of tasks.
        heads: Attention heads.
        scale: Factor of the products of queries and keys.
        shifted: Whether windows are shifted by half their side.
    """

    def __init__(self, channels: int, tasks: int, heads: int, scale: float, shifted: bool) -> None:
        super().__init__()
        self.shift = _SIDE // 2 if shifted else 0
        hidden = tasks * channels
        # Channels of the results by pattern: C, and C / (T - 1) of each other task
        widths = [channels] + [channels // (tasks - 1)] * (tasks - 1) if tasks > 1 else [channels]
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = CrossTaskAttention(channels, heads, _SIDE, scale)
        self.by_pattern = [f"mlp3{number}" for number in range(1, tasks + 1)]
        for name, width in zip(self.by_pattern, widths, strict=True):
            self.add_module(name, Mlp(channels, hidden, width))
        self.mlp3 = Mlp(sum(widths), hidden, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp2 = Mlp(channels, 4 * channels)

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Map the features of a task [B, H, W, C] to the same shape, reading those of the others, of the same shape."""
        # 1. Windows of all tasks, the own first: [T n, N, C]
        windows = Windows(own.shape[1], own.shape[2], _SIDE, self.shift)
        cut = windows.cut(self.norm1(torch.cat([own, *others])))
        apart = (len(self.by_pattern), -1)  # n windows of every task
        # 2. softmax(q_t k_t^T) v_own for the pattern of every task t: T results, [n, N, C] each
        mixed = torch.unflatten(self.attn1(cut, torch.unflatten(cut, 0, apart)[0], windows.mask(own.device)), 0, apart)
        # 3. An MLP per pattern, one on their concatenation, and the residuals
        fused = [self.get_submodule(name)(each) for name, each in zip(self.by_pattern, mixed, strict=True)]
        own = own + windows.join(mixed[0] + self.mlp3(torch.cat(fused, dim=-1)))
        result: Tensor = own + self.mlp2(self.norm2(own))
        return result


class CrossTaskStage(nn.Module):
    """Blocks across tasks, every second one with shifted windows; the arguments are those of `CrossTaskBlock`."""

    def __init__(self, channels: int, tasks: int, heads: int, scale: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            CrossTaskBlock(channels, tasks, heads, scale, shifted=i % 2 == 1) for i in range(_BLOCKS)
        )

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Map the features of a task [B, H, W, C] to the same shape, reading those of the others, of the same shape."""
        for block in self.blocks:
            own = block(own, others)
        return own


class CrossTaskStack(nn.Module):
    """Two blocks across tasks, the second with shifted windows, and a norm.

    Args:
        channels: Channels of the map of a task.
        tasks: Number of tasks.
        heads: Attention heads.
        scale: Factor of the products of queries and keys.
    """

    def __init__(self, channels: int, tasks: int, heads: int, scale: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([CrossTaskStage(channels, tasks, heads, scale)])
        self.norm0 = nn.LayerNorm(channels)
        self.apply(init_swin)

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Map the features of a task [B, H, W, C] to the same shape, reading those of the others, of the same shape."""
        for stage in self.layers:
            own = stage(own, others)
        normed: Tensor = self.norm0(own)
        return normed
