"""Encoders as functions of their weights: what every family has, and the vision transformer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from harness.backbones import Encoder
from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError
from harness.methods.share.block import EPS, Affine, BlockWeights, Execution, run_block

Weights = Mapping[str, Tensor]
"""Weights of an encoder by the names of its family's published code."""

_EMBEDDING = ("patch_embed.", "cls_token")
FROZEN = ("pos_embed", "norm0.weight", "norm0.bias")
"""Weights in which no sub-task ever differs: positions, and a norm whose level no head reads."""


@dataclass(frozen=True)
class OwnPart:
    """The part of an encoder that a sub-task computes itself; everything before it is exactly the base's.

    Attributes:
        embedding: Whether even the tokens before the first block are the sub-task's.
        blocks: Blocks it computes; empty where none differs.
    """

    embedding: bool
    blocks: range


@dataclass(frozen=True)
class Resolution:
    """Consecutive blocks over one number of tokens.

    Attributes:
        blocks: Their numbers.
        tokens: Tokens N of an image.
        width: Channels D of a token.
        norm: Name of the norm of its last tokens where the head reads them; None where it does not.
        class_token: Whether the first token is a class token, which no head reads.
    """

    blocks: range
    tokens: int
    width: int
    norm: str | None
    class_token: bool = False


class FunctionalEncoder(ABC):
    """The computations of an encoder, with the weights given at each call.

    Attributes:
        module: Holds the weights under their names.
        resolutions: Runs of blocks over one number of tokens, in order.
        depth: Number of blocks.
        eps: Of the norms.
    """

    module: nn.Module
    resolutions: tuple[Resolution, ...]
    eps: float = EPS

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.resolutions[-1].blocks.stop

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of blocks after which the resolution changes or the head reads tokens."""
        return tuple(one.blocks.stop for one in self.resolutions)

    def resolution(self, index: int) -> Resolution:
        """Return the resolution of a block."""
        return next(one for one in self.resolutions if index in one.blocks)

    def tables(self) -> list[nn.Module]:
        """Return modules that hold constant tables, so that they move with the model."""
        return []

    @abstractmethod
    def embed(self, weights: Weights, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to tokens [B, N, D]."""

    def enter(self, weights: Weights, index: int, x: Tensor) -> Tensor:
        """Return the tokens that a block reads from those after the block before it: merged where N changes."""
        return x

    @abstractmethod
    def prefix(self, index: int) -> str:
        """Return the prefix of the names of a block's weights."""

    @abstractmethod
    def block_weights(self, weights: Weights, index: int) -> BlockWeights:
        """Return the weights of a block."""

    @abstractmethod
    def pairs(self, index: int) -> int:
        """Return the pairs of a query and a key in a block of one image."""

    @abstractmethod
    def block_of(self, name: str) -> int | None:
        """Return the first block that depends on a weight; None for the embedding and for norms behind blocks."""

    @abstractmethod
    def assembled(self, levels: list[Tensor]) -> Tensor:
        """Return the map that heads read from the normed tokens [B, N, D] of every resolution that has a norm."""

    def block(self, weights: Weights, index: int, x: Tensor, execution: Execution, drop: float = 0.0) -> Tensor:
        """Run a block.

        Args:
            weights: Weights of the encoder.
            index: Number of the block.
            x: Tokens after the one before it, [B, N, D].
            execution: Computes its products.
            drop: Probability that an image skips a branch of the last block while training; it grows linearly from 0
                at the first block (stochastic depth).
        """
        rate = drop * index / max(self.depth - 1, 1)  # linear in depth, as in the paper of stochastic depth
        return run_block(index, self.enter(weights, index, x), self.block_weights(weights, index), execution, rate)

    def own_part(self, differing: Iterable[str]) -> OwnPart:
        """Return the part of the encoder that depends on the weights called ``differing``.

        Norms behind the blocks depend on no block, and whoever differs in them alone computes none.
        """
        names = list(differing)
        if any(name.startswith(_EMBEDDING) for name in names):
            return OwnPart(embedding=True, blocks=range(self.depth))
        first = min((block for name in names if (block := self.block_of(name)) is not None), default=self.depth)
        return OwnPart(embedding=False, blocks=range(first, self.depth))

    def features(self, weights: Weights, ends: Mapping[int, Tensor]) -> Tensor:
        """Map the tokens [B, N, D] after the blocks to the normed map [B, C, h, w] that heads read."""
        levels = []
        for one in self.resolutions:
            if one.norm is not None:
                norm = Affine(weights[f"{one.norm}.weight"], weights[f"{one.norm}.bias"], self.eps)
                levels.append(norm.norm(ends[one.blocks.stop]))
        return self.assembled(levels)


class FunctionalViT(FunctionalEncoder):
    """The computations of a vision transformer.

    Args:
        encoder: Gives the architecture; its own weights are not used.
    """

    def __init__(self, encoder: ViTEncoder) -> None:
        self.vit: VisionTransformer = encoder.vit
        self.module = self.vit
        self.grid = encoder.grid
        self.heads: int = self.vit.get_submodule("blocks.0.attn").num_heads  # type: ignore[assignment]
        tokens = 1 + self.grid[0] * self.grid[1]
        blocks = range(len(self.vit.blocks))
        self.resolutions = (Resolution(blocks, tokens, encoder.channels, "norm", class_token=True),)

    def embed(self, weights: Weights, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to tokens [B, 1 + h w, D], the class token first."""
        name = "patch_embed."
        own = {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
        patches: Tensor = functional_call(self.vit.patch_embed, own, images)  # [B, h w, D]
        first = weights["cls_token"].expand(len(images), -1, -1)  # [B, 1, D]
        return torch.cat((first, patches), dim=1) + weights["pos_embed"]

    def prefix(self, index: int) -> str:
        """Return the prefix of the names of a block's weights."""
        return f"blocks.{index}."

    def block_weights(self, weights: Weights, index: int) -> BlockWeights:
        """Return the weights of a block."""
        return BlockWeights.of(weights, index, self.heads)

    def pairs(self, index: int) -> int:
        """Return the pairs of a query and a key in a block: all tokens ask all."""
        return self.resolutions[0].tokens ** 2

    def block_of(self, name: str) -> int | None:
        """Return the block a weight belongs to; None for the embedding and the final norm."""
        return int(name.split(".")[1]) if name.startswith("blocks.") else None

    def assembled(self, levels: list[Tensor]) -> Tensor:
        """Return the last normed tokens as a map."""
        return self.as_map(levels[0])

    def as_map(self, tokens: Tensor) -> Tensor:
        """Return normed tokens [B, 1 + h w, D] as a map [B, D, h, w]."""
        patches = tokens[:, 1:].transpose(1, 2)  # without the class token, [B, D, h w]
        return patches.reshape(*patches.shape[:2], *self.grid)


def layer_of(name: str) -> str:
    """Return the name of a weight's layer in tables and pictures.

    >>> layer_of("blocks.3.attn.qkv.weight"), layer_of("layers.2.blocks.0.norm1.bias"), layer_of("norm.weight")
    ('block 3', 'block 2.0', 'norm')
    >>> layer_of("layers.0.downsample.norm.weight"), layer_of("patch_embed.proj.bias")
    ('merging 0', 'embedding')
    """
    parts = name.split(".")
    match parts[0]:
        case "blocks":
            return f"block {int(parts[1])}"
        case "layers":
            stage = int(parts[1])
            return f"merging {stage}" if parts[2] == "downsample" else f"block {stage}.{int(parts[3])}"
        case norm if norm.startswith("norm"):
            return norm
    return "embedding"


def named_weights(encoder: Encoder) -> dict[str, nn.Parameter]:
    """Return the weights of an encoder by the names under which sub-tasks store their differences."""
    module = encoder.vit if isinstance(encoder, ViTEncoder) else encoder
    return dict(module.named_parameters())


def differing_names(functional: FunctionalEncoder, shared_blocks: int, shared_embedding: bool) -> list[str]:
    """Return the names of the weights in which a sub-task may differ; positions never do.

    Args:
        functional: The base's encoder.
        shared_blocks: First blocks that are taken over unchanged, the embedding with them unless it is 0.
        shared_embedding: Whether the embedding is taken over unchanged even where every block differs.

    Raises:
        UsageError: the encoder has fewer blocks.
    """
    depth = functional.depth
    if shared_blocks > depth:
        raise UsageError(f"--set shared_blocks={shared_blocks}: the encoder has {depth} blocks")
    names = [name for name, _ in functional.module.named_parameters() if name not in FROZEN]
    if shared_blocks or shared_embedding:
        names = [name for name in names if not name.startswith(_EMBEDDING)]
    first = [functional.block_of(name) for name in names]
    return [name for name, block in zip(names, first, strict=True) if block is None or block >= shared_blocks]


def countable_elements(encoder: Encoder) -> int:
    """Return the elements that a density is a fraction of: all weights but the frozen ones."""
    return sum(weight.numel() for name, weight in named_weights(encoder).items() if name not in FROZEN)
