"""Small modules whose multiply-accumulates are written out by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

B, N, C, HEADS, HIDDEN = 2, 10, 24, 4, 40
"""Samples, tokens, channels of a token, heads (even, or torch does not fuse), channels inside the MLP."""

H, W = 10, 12
"""Height and width of the maps that are convolved."""

ATTENTION = N * C * 3 * C + 2 * N * N * C + N * C * C
"""Of one sample: queries, keys and values; the two products; the projection."""


class Attention(nn.Module):
    """Multi-head self-attention on [B, N, C].

    Args:
        fused: By `F.scaled_dot_product_attention`, else by two products.
    """

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv = nn.Linear(C, 3 * C)
        self.project = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) / (C // HEADS) ** 0.5).softmax(-1) @ v
        return self.project(mixed.transpose(1, 2).reshape(x.shape))


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` on itself."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.need_weights = need_weights
        self.attention = nn.MultiheadAttention(C, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x, x, need_weights=self.need_weights)[0]
        return mixed


class Function(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class Case:
    """A module, the shape of its input, and its MACs by hand."""

    module: Callable[[], nn.Module]
    shape: tuple[int, ...]
    macs: int


TOKENS, MAPS = (B, N, C), (B, 6, H, W)

CASES = {
    "linear": Case(lambda: nn.Linear(C, 5), TOKENS, B * N * C * 5),
    "conv": Case(lambda: nn.Conv2d(6, 8, 3), MAPS, B * 8 * 10 * (8 * 6 * 3 * 3)),
    "padded conv": Case(lambda: nn.Conv2d(6, 8, 3, padding=1), MAPS, B * 10 * 12 * (8 * 6 * 3 * 3)),
    "strided conv": Case(lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1), MAPS, B * 5 * 6 * (8 * 6 * 3 * 3)),
    "dilated conv": Case(lambda: nn.Conv2d(6, 8, 3, dilation=2), MAPS, B * 6 * 8 * (8 * 6 * 3 * 3)),
    "grouped conv": Case(lambda: nn.Conv2d(6, 8, 3, groups=2), MAPS, B * 8 * 10 * (8 * 3 * 3 * 3)),
    "depthwise conv": Case(lambda: nn.Conv2d(6, 6, 3, groups=6), MAPS, B * 8 * 10 * (6 * 1 * 3 * 3)),
    "transposed conv": Case(
        lambda: nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), MAPS, B * 10 * 12 * (6 * 8 * 4 * 4)
    ),
    "grouped transposed conv": Case(
        lambda: nn.ConvTranspose2d(6, 8, 4, stride=2, groups=2), MAPS, B * 10 * 12 * (6 * 4 * 4 * 4)
    ),
    "conv 1d": Case(lambda: nn.Conv1d(6, 8, 3), (B, 6, H), B * 8 * (8 * 6 * 3)),
    "conv 3d": Case(lambda: nn.Conv3d(6, 8, 3), (B, 6, 5, H, W), B * 3 * 8 * 10 * (8 * 6 * 27)),
    "attention by products": Case(lambda: Attention(fused=False), TOKENS, B * ATTENTION),
    "attention by one operator": Case(lambda: Attention(fused=True), TOKENS, B * ATTENTION),
    "nn.MultiheadAttention": Case(lambda: SelfAttention(need_weights=False), TOKENS, B * ATTENTION),
    "nn.MultiheadAttention, weights": Case(lambda: SelfAttention(need_weights=True), TOKENS, B * ATTENTION),
    "nn.TransformerEncoderLayer": Case(
        lambda: nn.TransformerEncoderLayer(C, HEADS, HIDDEN, batch_first=True),
        TOKENS,
        B * (ATTENTION + 2 * N * C * HIDDEN),
    ),
    "conv, norm, bilinear x2": Case(
        lambda: nn.Sequential(
            nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear")
        ),
        MAPS,
        B * 8 * 10 * (8 * 6 * 3 * 3),
    ),
    "einsum": Case(lambda: Function(lambda x: torch.einsum("bnc,bmc->bnm", x, x)), TOKENS, B * N * N * C),
    "bmm": Case(lambda: Function(lambda x: torch.bmm(x, x.transpose(1, 2))), TOKENS, B * N * N * C),
}
