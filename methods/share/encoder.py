"""Vision transformer as a function of its weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.func import functional_call

from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError
from harness.methods.share.block import Affine, BlockWeights, Execution, run_block

Weights = Mapping[str, Tensor]
"""Weights of an encoder by timm's names."""

_PATCHES = "patch_embed."
FROZEN = ("pos_embed",)
"""Weights in which no sub-task ever differs."""


@dataclass(frozen=True)
class OwnPart:
    """The part of an encoder that a sub-task computes itself; everything before it is exactly the base's.

    Attributes:
        embedding: Whether even the tokens before the first block are the sub-task's.
        blocks: Blocks it computes; empty where none differs.
    """

    embedding: bool
    blocks: range


class FunctionalViT:
    """The computations of an encoder, with the weights given at each call.

    Args:
        encoder: Gives the architecture; its own weights are not used.
    """

    def __init__(self, encoder: ViTEncoder) -> None:
        self.vit: VisionTransformer = encoder.vit
        self.grid = encoder.grid
        self.depth = len(self.vit.blocks)
        self.heads: int = self.vit.get_submodule("blocks.0.attn").num_heads  # type: ignore[assignment]

    def embed(self, weights: Weights, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to tokens [B, 1 + h w, D], the class token first."""
        own = {key.removeprefix(_PATCHES): value for key, value in weights.items() if key.startswith(_PATCHES)}
        patches: Tensor = functional_call(self.vit.patch_embed, own, images)  # [B, h w, D]
        first = weights["cls_token"].expand(len(images), -1, -1)  # [B, 1, D]
        return torch.cat((first, patches), dim=1) + weights["pos_embed"]

    def block(self, weights: Weights, index: int, x: Tensor, execution: Execution, drop: float = 0.0) -> Tensor:
        """Run a block.

        Args:
            weights: Weights of the encoder.
            index: Number of the block.
            x: Tokens before it, [B, N, D].
            execution: Computes its products.
            drop: Probability that an image skips a branch of the last block while training; it grows linearly from 0
                at the first block (stochastic depth).
        """
        rate = drop * index / max(self.depth - 1, 1)  # linear in depth, as in the paper of stochastic depth
        return run_block(index, x, BlockWeights.of(weights, index, self.heads), execution, rate)

    def own_part(self, differing: Iterable[str]) -> OwnPart:
        """Return the part of the encoder that depends on the weights called ``differing``.

        The final norm depends on no block, and whoever differs in it alone computes none.
        """
        names = list(differing)
        if "embedding" in map(layer_of, names):
            return OwnPart(embedding=True, blocks=range(self.depth))
        first = min((block for name in names if (block := _block_of(name)) is not None), default=self.depth)
        return OwnPart(embedding=False, blocks=range(first, self.depth))

    def features(self, weights: Weights, x: Tensor) -> Tensor:
        """Map the last tokens [B, 1 + h w, D] to the normed map [B, D, h, w] that heads read."""
        return self.as_map(Affine(weights["norm.weight"], weights["norm.bias"]).norm(x))

    def as_map(self, tokens: Tensor) -> Tensor:
        """Return normed tokens [B, 1 + h w, D] as a map [B, D, h, w]."""
        patches = tokens[:, 1:].transpose(1, 2)  # without the class token, [B, D, h w]
        return patches.reshape(*patches.shape[:2], *self.grid)


def _block_of(name: str) -> int | None:
    """Return the block a weight belongs to; None for the embedding and the final norm."""
    return int(name.split(".")[1]) if name.startswith("blocks.") else None


def layer_of(name: str) -> str:
    """Return the name of a weight's layer in tables and pictures."""
    if (block := _block_of(name)) is not None:
        return f"block {block}"
    return "norm" if name.startswith("norm.") else "embedding"


def differing_names(encoder: ViTEncoder, shared_blocks: int, shared_embedding: bool) -> list[str]:
    """Return the names of the weights in which a sub-task may differ; positions never do.

    Args:
        encoder: The base's.
        shared_blocks: First blocks that are taken over unchanged, the embedding with them unless it is 0.
        shared_embedding: Whether the embedding is taken over unchanged even where every block differs.

    Raises:
        UsageError: the encoder has fewer blocks.
    """
    depth = len(encoder.vit.blocks)
    if shared_blocks > depth:
        raise UsageError(f"--set shared_blocks={shared_blocks}: the encoder has {depth} blocks")
    shared = [f"blocks.{index}." for index in range(shared_blocks)]
    if shared_blocks or shared_embedding:
        shared += [_PATCHES, "cls_token"]
    names = [name for name, _ in encoder.vit.named_parameters() if name not in FROZEN]
    return [name for name in names if not name.startswith(tuple(shared))]


def countable_elements(encoder: ViTEncoder) -> int:
    """Return the elements that a density is a fraction of: all weights but the frozen positions."""
    return sum(weight.numel() for name, weight in encoder.vit.named_parameters() if name not in FROZEN)
