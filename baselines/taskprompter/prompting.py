"""Blocks in which prompts of tasks attend together with the tokens of patches, over space and over channels."""

from dataclasses import dataclass

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Reading:
    """Scores and prompts of a block that the decoder reads beside its tokens.

    Attributes:
        scores: Products of the queries of prompts and the keys of prompts and patches, neither scaled nor normalised,
            [B, heads, T, T + N].
        channel_prompts: Prompts as maps over the patches, [B, T, N].
        normed: Tokens of patches as the block's attention reads them, [B, N, C].
    """

    scores: Tensor
    channel_prompts: Tensor
    normed: Tensor


class PromptedAttention(nn.Module):
    """Attention of a ViT whose sequence begins with prompts, and a branch that sees prompts as maps over patches.

    Args:
        attention: The attention of the ViT, whose weights serve prompts and patches.
        prompts: Number of prompts T.
        patches: Number of patches N.
    """

    def __init__(self, attention: Attention, prompts: int, patches: int) -> None:
        super().__init__()
        self.prompts = prompts
        self.heads = attention.num_heads
        self.qkv, self.proj = attention.qkv, attention.proj
        channels = self.proj.in_features
        self.token_trans = nn.Linear(channels, patches)
        self.token_trans1 = nn.Linear(patches, channels)
        for layer in (self.token_trans, self.token_trans1):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, read: bool, last: bool) -> tuple[Tensor, Reading | None]:
        """Attend.

        Args:
            tokens: Normed prompts, then patches, [B, T + N, C].
            read: Whether the decoder reads this block.
            last: Whether no block follows, so that nobody reads the prompts that would come out.

        Returns:
            What is added to the tokens, [B, T + N, C], or to those of patches alone in the last block, [B, N, C]; and
            what the decoder reads.
        """
        t = self.prompts
        # q, k, v: [B, heads, T + N, C / heads] each
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query[:, :, t:] if last else query, key, value)
        added: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        if last and not read:
            return added, None
        # Linear over channels: every prompt becomes a map over the patches, [B, T, N], and returns to channels
        maps = self.token_trans(tokens[:, :t])
        if not last:
            added = torch.cat([added[:, :t] + self.token_trans1(maps), added[:, t:]], dim=1)
        if not read:
            return added, None
        # Fused attention gives no scores; those of the T prompts are few
        scores = query[:, :, :t] @ key.transpose(-2, -1)  # [B, heads, T, T + N]
        return added, Reading(scores, maps, tokens[:, t:])


class PromptedBlock(nn.Module):
    """A block of a ViT for prompts and patches alike; the residuals of the two are left out apart in training.

    Args:
        block: The block of the ViT.
        prompts: Number of prompts.
        patches: Number of patches.
    """

    def __init__(self, block: Block, prompts: int, patches: int) -> None:
        super().__init__()
        assert isinstance(block.attn, Attention)
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.attn = PromptedAttention(block.attn, prompts, patches)
        self.drop_path1, self.drop_path2 = block.drop_path1, block.drop_path2

    def forward(self, tokens: Tensor, read: bool, last: bool) -> tuple[Tensor, Reading | None]:
        """Map tokens [B, T + N, C] to the same shape, or to those of patches alone, [B, N, C]; see the attention."""
        t = self.attn.prompts
        added, reading = self.attn(self.norm1(tokens), read, last)
        if last:
            tokens, t = tokens[:, t:], 0
        tokens = tokens + _dropped(self.drop_path1, added, t)
        return tokens + _dropped(self.drop_path2, self.mlp(self.norm2(tokens)), t), reading


def _dropped(drop: nn.Module, added: Tensor, prompts: int) -> Tensor:
    """Leave a residual out at random in training, that of prompts and that of patches apart."""
    if not drop.training:
        return added
    return torch.cat([drop(added[:, :prompts]), drop(added[:, prompts:])], dim=1)


def over_windows(maps: Tensor, tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Return the products of maps and channels, summed over each of side x side windows.

    Windows are of equal size; where they do not divide the grid, those at the end reach beyond it, over zeros.

    Args:
        maps: [B, T, h w].
        tokens: [B, h w, C].
        grid: (h, w).
        side: Windows along each side.

    Returns:
        [B, T, C, side, side].
    """
    rows, columns = (-(-cells // side) for cells in grid)
    beyond = (0, side * columns - grid[1], 0, side * rows - grid[0])
    # Cells by window: [B, side, side, rows columns, T or C]
    cut = [
        F.pad(each.reshape(*each.shape[:2], *grid), beyond)
        .reshape(*each.shape[:2], side, rows, side, columns)
        .permute(0, 2, 4, 1, 3, 5)
        .flatten(4)
        for each in (maps, tokens.transpose(1, 2))
    ]
    products: Tensor = cut[0] @ cut[1].transpose(-2, -1)  # [B, side, side, T, C]
    return products.permute(0, 3, 4, 1, 2)


def onto_cells(windows: Tensor, grid: tuple[int, int]) -> Tensor:
    """Give every cell of a grid (h, w) the value of its window, [B, C, side, side] to [B, C, h, w]."""
    side = windows.shape[-1]
    rows, columns = (-(-cells // side) for cells in grid)
    repeated = windows.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    return repeated[..., : grid[0], : grid[1]]
