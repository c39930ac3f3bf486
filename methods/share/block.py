"""A transformer block as a function of its weights, with every product handed to an execution."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from timm.layers.drop import drop_path
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-6
"""Of the layer norms, as timm's vision transformers have it."""


@dataclass(frozen=True)
class Affine:
    """Weight and bias of a linear layer or a norm."""

    weight: Tensor
    bias: Tensor

    def linear(self, x: Tensor) -> Tensor:
        """Map [..., d_in] to [..., d_out]."""
        return F.linear(x, self.weight, self.bias)

    def norm(self, x: Tensor) -> Tensor:
        """Normalise each row [..., d]."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, EPS)


@dataclass(frozen=True)
class BlockWeights:
    """Weights of one pre-norm block.

    Attributes:
        norm1: Norm before attention.
        qkv: Fused projection [3 D, D] to queries, keys and values.
        proj: Projection [D, D] of the attended values.
        norm2: Norm before the MLP.
        fc1: First layer [4 D, D] of the MLP.
        fc2: Second layer [D, 4 D] of it.
        heads: Attention heads.
    """

    norm1: Affine
    qkv: Affine
    proj: Affine
    norm2: Affine
    fc1: Affine
    fc2: Affine
    heads: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], index: int, heads: int) -> "BlockWeights":
        """Return the weights of block ``index`` out of an encoder's, under timm's names."""

        def pick(name: str) -> Affine:
            return Affine(weights[f"blocks.{index}.{name}.weight"], weights[f"blocks.{index}.{name}.bias"])

        return cls(
            norm1=pick("norm1"),
            qkv=pick("attn.qkv"),
            proj=pick("attn.proj"),
            norm2=pick("norm2"),
            fc1=pick("mlp.fc1"),
            fc2=pick("mlp.fc2"),
            heads=heads,
        )


class Execution(ABC):
    """How the two branches of a block are computed: in full, by changed rows, or with clamped outputs."""

    @abstractmethod
    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Return the attention branch [B, N, D] of block ``index`` from its normed input ``u`` [B, N, D]."""

    @abstractmethod
    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Return the MLP branch [B, N, D] of block ``index`` from its normed input ``u`` [B, N, D]."""


def run_block(index: int, x: Tensor, weights: BlockWeights, execution: Execution, drop: float = 0.0) -> Tensor:
    """Return the tokens [B, N, D] after a block; each branch of an image is left out with probability ``drop``."""
    attended: Tensor = drop_path(execution.attend(index, weights.norm1.norm(x), weights), drop, training=True)
    x = x + attended
    mixed: Tensor = drop_path(execution.mlp(index, weights.norm2.norm(x), weights), drop, training=True)
    return x + mixed


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Reorder [B, N, h d] to [B, h, N, d]."""
    b, n, width = tokens.shape
    return tokens.view(b, n, heads, width // heads).transpose(1, 2)


def attention(queries: Tensor, qkv: Tensor, heads: int) -> Tensor:
    """Return the attended values [B, M, D].

    Args:
        queries: [B, M, D].
        qkv: Its last two thirds are the keys and values, [B, N, 3 D].
        heads: Attention heads.
    """
    _, keys, values = qkv.chunk(3, dim=-1)
    q, k, v = (split_heads(part, heads) for part in (queries, keys, values))
    context: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return context
