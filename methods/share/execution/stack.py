"""Stacks: the weights of several sub-tasks side by side, so that one batched product serves all of them."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn

from harness.methods.share.block import Affine, BlockWeights

_SKETCH = 16
"""Random projections by which the size of a change is estimated; the estimate is good to sqrt(2 / 16) = 35 %."""


@dataclass(frozen=True)
class Stacked:
    """A linear layer of T sub-tasks.

    Attributes:
        weight: [T, d_in, d_out].
        bias: [T, 1, d_out].
    """

    weight: Tensor
    bias: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Map [T, M, d_in] to [T, M, d_out]."""
        return torch.baddbmm(self.bias, x, self.weight)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """Return ``total`` [T, M, d_out] with the layer of ``x`` [T, M, d_in] added; the sum is part of the product."""
        if torch.is_autocast_enabled(total.device.type):  # products have 16 bits there, the sum keeps its 32
            return total + self.of(x)
        return torch.baddbmm(total, x, self.weight).add_(self.bias)

    def narrow(self, outputs: int) -> "Stacked":
        """Return the layer with its first outputs alone."""
        return Stacked(self.weight[..., :outputs], self.bias[..., :outputs])

    @classmethod
    def of_layers(cls, layers: Sequence[Affine]) -> Self:
        """Stack layers; one alone is not copied."""
        if len(layers) == 1:
            return cls(layers[0].weight.t()[None], layers[0].bias[None, None])
        weight = torch.stack([layer.weight.t() for layer in layers])  # contiguous: [T, d_in, d_out]
        return cls(weight, torch.stack([layer.bias for layer in layers])[:, None])


@dataclass(frozen=True)
class StackedBlock:
    """One block of T sub-tasks.

    Layer norms have no affine part: it is folded into the product behind them, W (g n + b) + c = (W g) n + (W b + c).
    """

    qkv: Stacked
    proj: Stacked
    fc1: Stacked
    fc2: Stacked


@dataclass(frozen=True)
class StackedWeights:
    """The encoders of T sub-tasks from the first block on in which they differ from the base.

    Attributes:
        blocks: By number.
        sketch: Random projections [T, D, r] of what the blocks make of normed tokens, minus the base's.
        sketch_base: The same of the base, [1, D, r]; used where even the tokens before the blocks differ.
        scale: Weight of the final norm, [T, 1, D].
        shift: Its bias.
    """

    blocks: Mapping[int, StackedBlock]
    sketch: Stacked
    sketch_base: Stacked
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(
        cls, subs: Sequence[Mapping[str, Tensor]], base: Mapping[str, Tensor], blocks: Sequence[int], heads: int
    ) -> Self:
        """Stack encoders.

        Args:
            subs: Weights of each sub-task by timm's names.
            base: The base's.
            blocks: Numbers of the blocks that sub-tasks compute.
            heads: Attention heads.
        """
        stacked = {}
        width = len(base["norm.weight"])
        zero = Affine(base["norm.weight"].new_zeros(_SKETCH, width), base["norm.weight"].new_zeros(_SKETCH))
        sketches, theirs = [zero] * len(subs), zero
        for index in blocks:
            parts = [BlockWeights.of(weights, index, heads) for weights in subs]
            qkv, fc1 = ([_folded(norm, layer) for norm, layer in pairs] for pairs in _normed(parts))
            stacked[index] = StackedBlock(
                qkv=Stacked.of_layers(qkv),
                proj=Stacked.of_layers([part.proj for part in parts]),
                fc1=Stacked.of_layers(fc1),
                fc2=Stacked.of_layers([part.fc2 for part in parts]),
            )
            # The squared size of P (W_s - W_b) n is in the mean that of (W_s - W_b) n, summed over blocks and layers.
            with torch.no_grad():
                [base_qkv], [base_fc1] = _normed([BlockWeights.of(base, index, heads)])
                theirs = _sketched(theirs, index, _folded(*base_qkv), _folded(*base_fc1))
                sketches = [
                    _sketched(sketch, index, *layers) for sketch, *layers in zip(sketches, qkv, fc1, strict=True)
                ]
        differences = [Affine(own.weight - theirs.weight, own.bias - theirs.bias) for own in sketches]
        return cls(
            stacked,
            sketch=Stacked.of_layers(differences),
            sketch_base=Stacked.of_layers([theirs]),
            scale=torch.stack([weights["norm.weight"] for weights in subs])[:, None],
            shift=torch.stack([weights["norm.bias"] for weights in subs])[:, None],
        )

    def part(self, first: int, last: int) -> "StackedWeights":
        """Return views of the sub-tasks from ``first`` to before ``last``."""

        def cut(layer: Stacked) -> Stacked:
            return Stacked(layer.weight[first:last], layer.bias[first:last])

        blocks = {
            index: StackedBlock(**{field.name: cut(getattr(block, field.name)) for field in fields(block)})
            for index, block in self.blocks.items()
        }
        scale, shift = self.scale[first:last], self.shift[first:last]
        return StackedWeights(blocks, cut(self.sketch), self.sketch_base, scale, shift)


def _normed(parts: Sequence[BlockWeights]) -> tuple[list[tuple[Affine, Affine]], list[tuple[Affine, Affine]]]:
    """Return the two layers of every block that read normed tokens, each with its norm."""
    return [(part.norm1, part.qkv) for part in parts], [(part.norm2, part.fc1) for part in parts]


def _folded(norm: Affine, layer: Affine) -> Affine:
    """Return the layer with the affine part of the norm before it in its weights."""
    return Affine(layer.weight * norm.weight, layer.bias + layer.weight @ norm.bias)


def _sketched(total: Affine, index: int, qkv: Affine, fc1: Affine) -> Affine:
    """Add random projections [r, D] of the layers of a block to those of others."""
    weight, bias = total.weight, total.bias
    for name, layer in (("qkv", qkv), ("fc1", fc1)):
        signs = _signs(f"{index}/{name}", len(layer.bias)).to(layer.weight)  # [r, d_out]
        weight, bias = torch.addmm(weight, signs, layer.weight), torch.addmv(bias, signs, layer.bias)
    return Affine(weight, bias)


@lru_cache(maxsize=128)
def _signs(name: str, count: int) -> Tensor:
    """Return random signs [r, count], the same for all sub-tasks and in all processes."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randint(0, 2, (_SKETCH, count), generator=generator) * 2.0 - 1.0


class Stack(nn.Module):
    """Stacked weights in evaluation: buffers, so that they count as memory and move with the model.

    Args:
        tasks: Sub-tasks in the order of the stack; all begin to differ at the same block.
        weights: Their weights, which are held and not copied.
    """

    def __init__(self, tasks: Sequence[str], weights: StackedWeights) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self._parts: dict[tuple[int, int], StackedWeights] = {(0, len(self.tasks)): weights}
        for index, block in weights.blocks.items():
            for field in fields(block):
                layer = getattr(block, field.name)
                self.register_buffer(f"{index}:{field.name}:weight", layer.weight, persistent=False)
                self.register_buffer(f"{index}:{field.name}:bias", layer.bias, persistent=False)

    def part(self, first: int, last: int) -> StackedWeights:
        """Return the weights of the sub-tasks from ``first`` to before ``last``."""
        if (first, last) not in self._parts:
            self._parts[first, last] = self._parts[0, len(self.tasks)].part(first, last)
        return self._parts[first, last]
