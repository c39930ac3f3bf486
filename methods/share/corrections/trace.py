"""The frozen base's run: its tokens at some levels, and the keys and values of its last blocks, all uncopied."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.backbones.vit import ViTEncoder
from harness.counting import attributed_to
from harness.methods.share.block import attention


@dataclass(frozen=True)
class Trace:
    """Activations of the base that sub-tasks read.

    Attributes:
        tokens: Level to the tokens [B, 1 + P, D] after so many blocks, the class token first.
        qkv: Block to its queries, keys and values [B, 1 + P, 3 D].
        depth: Number of blocks.
    """

    tokens: Mapping[int, Tensor]
    qkv: Mapping[int, Tensor]
    depth: int

    def patches(self, level: int) -> Tensor:
        """Return the patch tokens [B, P, D] of a level, a view."""
        return self.tokens[level][:, 1:]

    @property
    def last(self) -> Tensor:
        """The patch tokens [B, P, D] after the last block."""
        return self.patches(self.depth)


def run_base(base: ViTEncoder, images: Tensor, levels: frozenset[int], first_kept: int) -> Trace:
    """Run the base's blocks.

    Args:
        base: The encoder.
        images: [B, 3, H, W].
        levels: Levels whose tokens are kept beside the last one's.
        first_kept: First block whose keys and values are kept; the number of blocks keeps none.
    """
    vit = base.vit
    depth = len(vit.blocks)
    heads: int = vit.get_submodule("blocks.0.attn").num_heads  # type: ignore[assignment]
    tokens: dict[int, Tensor] = {}
    kept: dict[int, Tensor] = {}
    with attributed_to("base"):
        # As timm does it, so that the base's map is that of the network alone, bit for bit.
        patches = vit.patch_embed(images)  # [B, P, D]
        first = vit.get_parameter("cls_token").expand(images.shape[0], -1, -1)  # [B, 1, D]
        x = torch.cat((first, patches), dim=1) + vit.get_parameter("pos_embed")
        for index, block in enumerate(vit.blocks):
            if index in levels:
                tokens[index] = x
            if index < first_kept:
                x = block(x)
                continue
            # The same block with its queries, keys and values in hand
            norm1, own, norm2, mlp = (block.get_submodule(name) for name in ("norm1", "attn", "norm2", "mlp"))
            kept[index] = qkv = own.get_submodule("qkv")(norm1(x))
            context = attention(qkv.chunk(3, dim=-1)[0], qkv, heads)
            x = x + own.get_submodule("proj")(context)
            x = x + mlp(norm2(x))
    tokens[depth] = x
    return Trace(tokens, kept, depth)


def map_of(normed: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return patch tokens [B, P, D] as the map [B, D, h, w] that heads read, a view."""
    return normed.transpose(1, 2).view(normed.shape[0], normed.shape[-1], *grid)
