"""Transformer block as a function of its weights; an execution computes its two branches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor
from torch.nn import functional as F

from harness.training.synchronised import drop_path

EPS = 1e-6
"""Of the layer norms, as in timm's vision transformers; torch's default, 1e-5, gives other outputs."""


class Product(StrEnum):
    """The four linear layers of a block, the products that a sub-task can skip."""

    QKV = "qkv"
    PROJ = "proj"
    FC1 = "fc1"
    FC2 = "fc2"

    @property
    def timm_name(self) -> str:
        """Name of the layer inside a block of timm's vision transformers."""
        return f"attn.{self}" if self in (Product.QKV, Product.PROJ) else f"mlp.{self}"


class Site(StrEnum):
    """The inputs of a block that are gated; one gate before the MLP serves both of its layers."""

    QKV = "qkv"
    PROJ = "proj"
    MLP = "mlp"


@dataclass(frozen=True)
class Affine:
    """Weight and bias of a linear layer or a norm."""

    weight: Tensor
    bias: Tensor

    def linear(self, x: Tensor) -> Tensor:
        """Map [..., d_in] to [..., d_out]: x W^T + b."""
        return F.linear(x, self.weight, self.bias)

    def norm(self, x: Tensor) -> Tensor:
        """Normalise each token [..., d]."""
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
        """Return the weights of block ``index`` from those of an encoder, under timm's names."""

        def pick(name: str) -> Affine:
            return Affine(weights[f"blocks.{index}.{name}.weight"], weights[f"blocks.{index}.{name}.bias"])

        products = {product.value: pick(product.timm_name) for product in Product}
        return cls(norm1=pick("norm1"), norm2=pick("norm2"), heads=heads, **products)

    def layer(self, product: Product) -> Affine:
        """Return the linear layer of a product."""
        match product:
            case Product.QKV:
                return self.qkv
            case Product.PROJ:
                return self.proj
            case Product.FC1:
                return self.fc1
            case Product.FC2:
                return self.fc2


class Execution(ABC):
    """A way to compute the two branches of a block: in full, for active tokens, or with clamped outputs."""

    @abstractmethod
    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Return the attention branch [B, N, D] of block ``index`` from its normed input ``u`` [B, N, D]."""

    @abstractmethod
    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Return the MLP branch [B, N, D] of block ``index`` from its normed input ``u`` [B, N, D]."""


def run_block(index: int, x: Tensor, weights: BlockWeights, execution: Execution, drop: float = 0.0) -> Tensor:
    """Return the tokens [B, N, D] after a block.

    Args:
        index: Number of the block, for the execution.
        x: Tokens before it, [B, N, D].
        weights: Its weights.
        execution: Computes the two branches.
        drop: Probability that an image skips a branch (stochastic depth, Huang et al., ECCV 2016).
    """
    # x' = x + Attention(LN1(x))
    attended = drop_path(execution.attend(index, weights.norm1.norm(x), weights), drop, training=True)
    x = x + attended
    # y = x' + MLP(LN2(x'))
    mixed = drop_path(execution.mlp(index, weights.norm2.norm(x), weights), drop, training=True)
    return x + mixed


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Reorder [B, N, h d] to [B, h, N, d]."""
    b, n, width = tokens.shape
    return tokens.view(b, n, heads, width // heads).transpose(1, 2)


def attention(queries: Tensor, qkv: Tensor, heads: int) -> Tensor:
    """Return the attended values [B, M, D].

    Args:
        queries: [B, M, D]; M may be smaller than N where only some tokens ask.
        qkv: Its last two thirds are the keys and values, [B, N, 3 D].
        heads: Attention heads.
    """
    _, keys, values = qkv.chunk(3, dim=-1)
    q, k, v = (split_heads(part, heads) for part in (queries, keys, values))  # [B, h, M or N, d]
    # softmax(q k^T / sqrt(d)) v: [B, h, M, d], then [B, M, h d]
    context: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return context
