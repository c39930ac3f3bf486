"""Attention across tasks and space, with scores passed on from stage to stage (paper, sections 3.3 and 3.4)."""

from collections import OrderedDict

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 2
"""Attention heads in every stage, as published; `fuse_attn` mixes their scores."""


class MessagePassingAttention(nn.Module):
    """Every position of every task attends to all positions of all tasks, at reduced resolutions.

    Queries are halved by a depthwise convolution per task; keys and values are averaged over windows, which are larger
    the finer the map, so that every stage has the same keys. Scores of the stage before are enlarged and mixed into
    this stage's ("attention message passing"), so that attention is computed by two products and not by a fused kernel.

    Args:
        channels: Width of the maps.
        tasks: Number of tasks.
        window: Rows and columns that a key is averaged over.
    """

    def __init__(self, channels: int, tasks: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.scale = channels**-0.5  # of the full width, not of a head's
        self.conv_proj_q = nn.ModuleList()
        for _ in range(tasks):  # depthwise, so that a query sees its neighbourhood
            conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
            self.conv_proj_q.append(nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels))))
        self.proj_q = nn.Linear(channels, channels)
        self.proj_k = nn.Linear(channels, channels)
        self.proj_v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        self.fuse_attn = nn.Conv2d(2 * HEADS, HEADS, 1)

    def forward(self, x: Tensor, message: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: Maps of all tasks, [T, B, h, w, C].
            message: Scores of the stage before, [B, heads, T, h/4, w/4, keys]; None in the first stage.

        Returns:
            What was attended to, as ``x``; and this stage's scores before the softmax,
            [B, heads, T, h/2, w/2, keys]. Halves are rounded up.
        """
        tasks, b, h, w, c = x.shape
        # 1. Queries at half the size, keys and values at the size of the first stage's: M and K tokens of all tasks.
        queries = torch.stack([halve(x[task].permute(0, 3, 1, 2)) for task, halve in enumerate(self.conv_proj_q)], 1)
        size = queries.shape[-2:]  # queries: [B, T, C, h/2, w/2]
        pooled = F.avg_pool2d(_as_maps(x), self.window, ceil_mode=True)  # [T B, C, h/window, w/window]
        keys = _tokens(pooled.view(tasks, b, *pooled.shape[1:]).transpose(0, 1))  # [B, K, C]
        q = _split(self.proj_q(_tokens(queries)) * self.scale)  # [B, heads, M, C/heads]
        k, v = _split(self.proj_k(keys)), _split(self.proj_v(keys))  # [B, heads, K, C/heads]
        # 2. Scores A = q k^T / sqrt(C), mixed with those of the stage before: A <- conv(A, enlarged A').
        score = q @ k.transpose(-2, -1)  # [B, heads, M, K]
        if message is not None:
            score = self.fuse_attn(torch.cat([score, _enlarged(message, size)], dim=1))
        # 3. softmax(A) v, projected and brought back to the size of the input.
        mixed = self.proj((score.softmax(-1) @ v).transpose(1, 2).flatten(2))  # [B, M, C]
        maps = _as_maps(mixed.view(b, tasks, *size, c).transpose(0, 1))  # [T B, C, h/2, w/2]
        attended = F.interpolate(maps, size=(h, w), mode="bilinear", align_corners=False)
        return attended.permute(0, 2, 3, 1).view(x.shape), score.view(b, HEADS, tasks, *size, -1)


class Block(nn.Module):
    """Attention across tasks, then a perceptron on every position.

    Args:
        channels: Width of the maps.
        tasks: Number of tasks.
        window: Rows and columns that a key is averaged over.
    """

    def __init__(self, channels: int, tasks: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = MessagePassingAttention(channels, tasks, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)

    def forward(self, x: Tensor, message: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map [T, B, h, w, C] to the same shape, and return the scores; see `MessagePassingAttention`."""
        attended, score = self.attn(self.norm1(x), message)
        x = x + attended  # [T, B, h, w, C]
        return x + self.mlp(self.norm2(x)), score


def _as_maps(x: Tensor) -> Tensor:
    """[T, B, h, w, C] to [T B, C, h, w], channels last in memory."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def _tokens(maps: Tensor) -> Tensor:
    """[B, T, C, h, w] to [B, T h w, C]."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _split(tokens: Tensor) -> Tensor:
    """[B, N, C] to [B, heads, N, C / heads]."""
    b, n, c = tokens.shape
    return tokens.view(b, n, HEADS, c // HEADS).transpose(1, 2)


def _enlarged(score: Tensor, size: torch.Size) -> Tensor:
    """Resize scores over the positions of their queries: [B, heads, T, h, w, K] to [B, heads, T size, K]."""
    b, heads, tasks, *_, keys = score.shape
    maps = score.flatten(0, 2).permute(0, 3, 1, 2)  # keys as channels: [B heads T, K, h, w]
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1).reshape(b, heads, tasks * size[0] * size[1], keys)
