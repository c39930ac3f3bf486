"""Vision transformer over time: a dense pass that fills a state, and a pass that computes active tokens alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder
from harness.stream.gates import Active, mean_square_change
from harness.stream.state import BlockState

_EPS = 1e-6  # of timm's norms in vision transformers

Choose = Callable[[int, str, Tensor], Active | None]
"""Chooses the active tokens of a block (its number, ``attention`` or ``mlp``) by their mean square change [B, N]."""


@dataclass(frozen=True)
class Layer:
    """Weight [out, in] and bias [out] of a linear layer, or those [D] of a norm."""

    weight: Tensor
    bias: Tensor

    def linear(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return F.linear(x, self.weight, self.bias)

    def norm(self, x: Tensor) -> Tensor:
        """Normalise each token."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, _EPS)


@dataclass(frozen=True)
class BlockLayers:
    """The six layers of a pre-norm block."""

    norm1: Layer
    qkv: Layer
    proj: Layer
    norm2: Layer
    fc1: Layer
    fc2: Layer

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], index: int) -> "BlockLayers":
        """Return the layers of block ``index`` from the weights of an encoder by timm's names."""
        names = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        keys = [f"blocks.{index}.{name}" for name in names]
        return cls(*(Layer(weights[f"{key}.weight"], weights[f"{key}.bias"]) for key in keys))


@dataclass
class Pass:
    """One pass of a network through its blocks.

    Attributes:
        entries: Tokens [B, N, D] before the blocks that others begin at, by block.
        active: Block to its active tokens in attention and MLP; None for all.
    """

    entries: dict[int, Tensor] = field(default_factory=dict)
    active: dict[int, list[Active | None]] = field(default_factory=dict)

    def fractions(self, count: int) -> list[tuple[float, float]]:
        """Return the fractions of active tokens per block, of ``count`` tokens."""
        return [
            (sizes[0] / count, sizes[1] / count)
            for places in self.active.values()
            if (sizes := [count if place is None else place.count for place in places])
        ]


class TemporalViT:
    """A plain ViT with weights given by name, run on frames.

    Args:
        encoder: Gives the architecture.
        weights: Weights by timm's names: the encoder's own, or a sub-task's.
        blocks: Blocks that this network computes itself.
        queries: Whether the attention of all tokens is computed, as `StreamPolicy.queries` says.
    """

    def __init__(
        self, encoder: ViTEncoder, weights: Mapping[str, Tensor], blocks: range | None = None, queries: bool = False
    ) -> None:
        self.encoder, self.vit = encoder, encoder.vit
        self.grid, self.all_queries = encoder.grid, queries
        self.width: int = encoder.vit.embed_dim
        self.depth = len(self.vit.blocks)
        self.heads: int = self.vit.get_submodule("blocks.0.attn").num_heads  # type: ignore[assignment]
        self.blocks = range(self.depth) if blocks is None else blocks
        self.layers = {index: BlockLayers.of(weights, index) for index in self.blocks}
        self.weights = weights
        self._patches = {k.removeprefix("patch_embed."): v for k, v in weights.items() if k.startswith("patch_embed.")}

    def embed(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to tokens [B, 1 + h w, D], the class token first."""
        patches: Tensor = functional_call(self.vit.patch_embed, self._patches, images)  # [B, h w, D]
        first = self.weights["cls_token"].expand(len(images), -1, -1)  # [B, 1, D]
        return torch.cat((first, patches), dim=1) + self.weights["pos_embed"]

    def features(self, x: Tensor) -> Tensor:
        """Map the last tokens [B, 1 + h w, D] to the normed map [B, D, h, w] that heads read."""
        normed = Layer(self.weights["norm.weight"], self.weights["norm.bias"]).norm(x)
        patches = normed[:, 1:].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], *self.grid)

    # Passes through the blocks

    def dense(self, x: Tensor, state: Mapping[int, BlockState], done: Pass, keep: Collection[int] = ()) -> Tensor:
        """Compute every token of every block and write the state.

        Args:
            x: Tokens before the first of the network's blocks, [B, N, D].
            state: Block to its state, which is overwritten.
            done: Receives the tokens before the blocks in ``keep``.
            keep: Blocks that others begin at.
        """
        for index in self.blocks:
            if index in keep:
                done.entries[index] = x
            done.active[index] = [None, None]
            held, layers = state[index], self.layers[index]
            x = x + self._attend(layers, layers.norm1.norm(x), held, None)
            x = x + _mlp(layers, layers.norm2.norm(x), held, None)
        if self.depth in keep:
            done.entries[self.depth] = x
        return x

    def gated(
        self,
        x: Tensor,
        state: Mapping[int, BlockState],
        choose: Choose,
        done: Pass,
        keep: Collection[int] = (),
        *,
        open_loop: bool = False,
    ) -> Tensor:
        """Compute the active tokens of every block, take the others' branches from the state, and update it.

        The residual stream starts from this frame's embedding, so that a resting token still follows its input.

        Args:
            x: Tokens before the first of the network's blocks, [B, N, D].
            state: Block to its state.
            choose: Chooses active tokens.
            done: Receives the active tokens, and the tokens before the blocks in ``keep``.
            keep: Blocks that others begin at.
            open_loop: Whether references become this frame's inputs for resting tokens, too.
        """
        for index in self.blocks:
            if index in keep:
                done.entries[index] = x
            held, layers = state[index], self.layers[index]
            # 1. Attention: x' = x + o, of which active rows are new.
            u = layers.norm1.norm(x)
            first = choose(index, "attention", _change(u, held.u1))
            x = x + self._attend(layers, u, held, first)
            # 2. MLP: x'' = x' + y.
            v = layers.norm2.norm(x)
            second = choose(index, "mlp", _change(v, held.u2))
            x = x + _mlp(layers, v, held, second)
            if open_loop and held.u1 is not None and held.u2 is not None:
                held.u1.copy_(u)
                held.u2.copy_(v)
            done.active[index] = [first, second]
        if self.depth in keep:
            done.entries[self.depth] = x
        return x

    def _attend(self, layers: BlockLayers, u: Tensor, held: BlockState, active: Active | None) -> Tensor:
        """Return the attention branch [B, N, D] and update its rows of the state."""
        width = self.width
        if active is not None and not active.count:
            return held.o
        rows = u if active is None else active.take(u)  # [B, k or N, D]
        qkv = layers.qkv.linear(rows)
        if held.u1 is not None:
            _write(held.u1, rows, active)
        own = qkv if self.all_queries else qkv[..., width:]  # queries of resting tokens are read only where all ask
        _write(held.kv, own, active)
        if active is None:
            context = self._attention(qkv[..., :width], qkv[..., width:])
        elif self.all_queries:
            context = self._attention(held.kv[..., :width], held.kv[..., width:])
        else:
            context = self._attention(qkv[..., :width], held.kv)  # [B, k, D]
        if held.ctx is not None:
            if active is not None:  # every query was asked again: those that changed are projected
                active = _changed_most(context, held.ctx, active)
                context = active.take(context)
            _write(held.ctx, context, active)
        out = layers.proj.linear(context)
        _write(held.o, out, active)
        return out if active is None else held.o

    def _attention(self, queries: Tensor, kv: Tensor) -> Tensor:
        """Return softmax(q k^T / sqrt(d)) v, [B, M, D], for queries [B, M, D] over keys and values [B, N, 2 D]."""
        parts = (queries, *kv.chunk(2, dim=-1))
        # [B, heads, M or N, d]
        q, k, v = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    # Formulas

    def state_for(self, tokens: Tensor, *, lean: bool = False) -> dict[int, BlockState]:
        """Return an unwritten state for tokens [B, N, D]."""
        return {index: BlockState.empty(tokens, lean=lean, queries=self.all_queries) for index in self.blocks}

    def macs(self, done: Pass, batch: int, count: int) -> int:
        """Return the MACs of the blocks in one pass, by formula.

        With k1 and k2 active tokens of N: 3 k1 D^2 for queries, keys and values, 2 k1 N D for attention, k1 D^2 for
        the projection and 8 k2 D^2 for the MLP.
        """
        total, width = 0, self.width
        for first, second in done.active.values():
            k1, k2 = (count if place is None else place.count for place in (first, second))
            queries = count if self.all_queries and k1 else k1
            hidden = self.layers[next(iter(self.layers))].fc1.weight.shape[0]
            total += 4 * k1 * width**2 + 2 * queries * count * width + 2 * k2 * width * hidden
        return batch * total


def _mlp(layers: BlockLayers, v: Tensor, held: BlockState, active: Active | None) -> Tensor:
    """Return the MLP branch [B, N, D] and update its rows of the state."""
    if active is not None and not active.count:
        return held.y
    rows = v if active is None else active.take(v)
    out = layers.fc2.linear(F.gelu(layers.fc1.linear(rows)))
    if held.u2 is not None:
        _write(held.u2, rows, active)
    _write(held.y, out, active)
    return out if active is None else held.y


def _write(into: Tensor, values: Tensor, active: Active | None) -> None:
    if active is None:
        into.copy_(values)
    else:
        active.put(values, into)


def _change(u: Tensor, reference: Tensor | None) -> Tensor:
    """Return the mean square change of each token; nothing where another network chooses."""
    return u.new_empty(0) if reference is None else mean_square_change(u, reference)


def _changed_most(context: Tensor, reference: Tensor, active: Active) -> Active:
    """Return as many tokens as are active, those whose attended values changed most."""
    count = context.shape[1]
    index = mean_square_change(context, reference).topk(active.count, dim=1).indices  # [B, k]
    start = count * torch.arange(len(context), device=index.device)[:, None]
    return Active((index + start).flatten(), active.count)
