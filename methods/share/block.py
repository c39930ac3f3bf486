"""Transformer block as a function of its weights; an execution computes its two branches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.windows import Partition
from harness.stream.gates import Active
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
    """Weight and bias of a linear layer or a norm, and the norm's eps."""

    weight: Tensor
    bias: Tensor
    eps: float = EPS

    def linear(self, x: Tensor) -> Tensor:
        """Map [..., d_in] to [..., d_out]: x W^T + b."""
        return F.linear(x, self.weight, self.bias)

    def norm(self, x: Tensor) -> Tensor:
        """Normalise each token [..., d]."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class WindowWeights:
    """Windows within which the tokens of a block attend to each other.

    Attributes:
        partition: The windows.
        bias: Added to the attention, [h, c, c] for windows of c cells.
    """

    partition: Partition
    bias: Tensor


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
        windows: Windows of attention; None where all tokens attend to all.
    """

    norm1: Affine
    qkv: Affine
    proj: Affine
    norm2: Affine
    fc1: Affine
    fc2: Affine
    heads: int
    windows: WindowWeights | None = None

    @classmethod
    def of(
        cls,
        weights: Mapping[str, Tensor],
        block: int | str,
        heads: int,
        partition: Partition | None = None,
        eps: float = EPS,
    ) -> "BlockWeights":
        """Return the weights of a block from those of an encoder.

        Args:
            weights: By name.
            block: Number of a block under timm's names, or the prefix of its names.
            heads: Attention heads.
            partition: Windows of attention; None where all tokens attend to all.
            eps: Of the norms.
        """
        prefix = f"blocks.{block}." if isinstance(block, int) else block

        def pick(name: str) -> Affine:
            return Affine(weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], eps)

        products = {product.value: pick(product.timm_name) for product in Product}
        windows = None
        if partition is not None:
            windows = WindowWeights(partition, partition.bias(weights[f"{prefix}attn.relative_position_bias_table"]))
        return cls(norm1=pick("norm1"), norm2=pick("norm2"), heads=heads, windows=windows, **products)

    def context(self, qkv: Tensor) -> Tensor:
        """Return the attended values [B, N, D] of all tokens from their queries, keys and values [B, N, 3 D]."""
        if self.windows is None:
            return attention(qkv.chunk(3, dim=-1)[0], qkv, self.heads)
        return self.windows.partition.of_all(qkv, self.qkv.bias, self.windows.bias, self.heads)

    def context_of(self, active: Active, qkv: Tensor, anywhere: bool = False) -> Tensor:
        """Return the attended values [B, k, D] of active tokens; windows in which there is none are skipped.

        Args:
            active: These tokens.
            qkv: Queries, keys and values of all tokens, [B, N, 3 D].
            anywhere: Whether they may lie in any windows, which are then counted, or in `Partition.room` of them.
        """
        if self.windows is None:
            return attention(active.take(qkv.chunk(3, dim=-1)[0]), qkv, self.heads)
        places = active.index.view(len(qkv), -1) % qkv.shape[1]
        partition = self.windows.partition
        room = partition.touched(places) if anywhere else partition.room(active.count)
        return partition.of_some(qkv, places, self.qkv.bias, self.windows.bias, self.heads, room)

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
