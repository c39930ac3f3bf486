"""Stacks: the weights of several sub-tasks side by side, so that one batched product serves all of them."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn

from harness.methods.share.block import Affine, BlockWeights
from harness.methods.share.encoder import FunctionalEncoder, Resolution, Weights
from harness.methods.share.windows import Partition

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
class StackedWindows:
    """Attention in windows of T sub-tasks.

    Attributes:
        partition: The windows.
        bias: Added to the attention, [T, h, c, c].
        pad: Queries, keys and values of padding, which is zero after the norm, [T, 3 D].
        base_pad: The base's, [3 D].
    """

    partition: Partition
    bias: Tensor
    pad: Tensor
    base_pad: Tensor


@dataclass(frozen=True)
class StackedBlock:
    """One block of T sub-tasks.

    Layer norms have no affine part: it is folded into the product behind them, W (g n + b) + c = (W g) n + (W b + c).

    Attributes:
        heads: Attention heads.
        windows: Windows of attention; None where all tokens attend to all.
    """

    qkv: Stacked
    proj: Stacked
    fc1: Stacked
    fc2: Stacked
    heads: int
    windows: StackedWindows | None = None

    def layers(self) -> dict[str, Stacked]:
        """Return the linear layers by name."""
        return {"qkv": self.qkv, "proj": self.proj, "fc1": self.fc1, "fc2": self.fc2}


@dataclass(frozen=True)
class StackedWeights:
    """The encoders of T sub-tasks at one resolution, from the first block on in which they differ from the base.

    Attributes:
        resolution: Number and width of the tokens.
        eps: Of the norms.
        blocks: By number.
        entering: By sub-task the weights that merge tokens before the first block; empty where nothing is merged.
        sketch: Random projections [T, D, r] of what the blocks make of normed tokens, minus the base's.
        sketch_base: The same of the base, [1, D, r]; used where even the tokens before the blocks differ.
        scale: Weight of the norm behind the last block, [T, 1, D]; 1 where the head reads nothing there.
        shift: Its bias; 0 there.
    """

    resolution: Resolution
    eps: float
    blocks: Mapping[int, StackedBlock]
    entering: tuple[Weights, ...]
    sketch: Stacked
    sketch_base: Stacked
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(
        cls,
        subs: Sequence[Weights],
        base: Weights,
        functional: FunctionalEncoder,
        resolution: Resolution,
        first: int = 0,
    ) -> Self:
        """Stack encoders.

        Args:
            subs: Weights of each sub-task by name.
            base: The base's.
            functional: The encoder's computations.
            resolution: The blocks to stack.
            first: First block that sub-tasks compute.
        """
        stacked = {}
        some = next(iter(base.values()))
        zero = Affine(some.new_zeros(_SKETCH, resolution.width), some.new_zeros(_SKETCH))
        sketches, theirs = [zero] * len(subs), zero
        for index in resolution.blocks:
            if index < first:
                continue
            parts = [functional.block_weights(weights, index) for weights in subs]
            whole = functional.block_weights(base, index)
            qkv, fc1 = ([_folded(norm, layer) for norm, layer in pairs] for pairs in _normed(parts))
            stacked[index] = StackedBlock(
                qkv=Stacked.of_layers(qkv),
                proj=Stacked.of_layers([part.proj for part in parts]),
                fc1=Stacked.of_layers(fc1),
                fc2=Stacked.of_layers([part.fc2 for part in parts]),
                heads=whole.heads,
                windows=_windows(parts, whole),
            )
            # The squared size of P (W_s - W_b) n is in the mean that of (W_s - W_b) n, summed over blocks and layers.
            with torch.no_grad():
                [base_qkv], [base_fc1] = _normed([whole])
                theirs = _sketched(theirs, index, _folded(*base_qkv), _folded(*base_fc1))
                sketches = [
                    _sketched(sketch, index, *layers) for sketch, *layers in zip(sketches, qkv, fc1, strict=True)
                ]
        differences = [Affine(own.weight - theirs.weight, own.bias - theirs.bias) for own in sketches]
        norm, ones = resolution.norm, some.new_ones(resolution.width)
        scales = [ones if norm is None else weights[f"{norm}.weight"] for weights in subs]
        shifts = [torch.zeros_like(ones) if norm is None else weights[f"{norm}.bias"] for weights in subs]
        start = resolution.blocks.start
        merging = [name for name in base if functional.block_of(name) == start and "downsample" in name]
        return cls(
            resolution,
            functional.eps,
            stacked,
            entering=tuple({name: weights[name] for name in merging if first <= start} for weights in subs),
            sketch=Stacked.of_layers(differences),
            sketch_base=Stacked.of_layers([theirs]),
            scale=torch.stack(scales)[:, None],
            shift=torch.stack(shifts)[:, None],
        )

    def part(self, first: int, last: int) -> "StackedWeights":
        """Return views of the sub-tasks from ``first`` to before ``last``."""

        def cut(layer: Stacked) -> Stacked:
            return Stacked(layer.weight[first:last], layer.bias[first:last])

        blocks = {}
        for index, block in self.blocks.items():
            held = block.windows
            windows = held and replace(held, bias=held.bias[first:last], pad=held.pad[first:last])
            blocks[index] = replace(
                block,
                qkv=cut(block.qkv),
                proj=cut(block.proj),
                fc1=cut(block.fc1),
                fc2=cut(block.fc2),
                windows=windows,
            )
        return replace(
            self,
            blocks=blocks,
            entering=self.entering[first:last],
            sketch=cut(self.sketch),
            scale=self.scale[first:last],
            shift=self.shift[first:last],
        )


def _windows(parts: Sequence[BlockWeights], base: BlockWeights) -> StackedWindows | None:
    """Return the windows of a block of several sub-tasks; None where all tokens attend to all."""
    held = [part.windows for part in parts if part.windows is not None]
    if not held:
        return None
    bias, pad = torch.stack([one.bias for one in held]), torch.stack([part.qkv.bias for part in parts])
    return StackedWindows(held[0].partition, bias, pad, base.qkv.bias)


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
        weights: Their weights by resolution, which are held and not copied.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[StackedWeights]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self._parts: dict[tuple[int, int], tuple[StackedWeights, ...]] = {(0, len(self.tasks)): tuple(weights)}
        for one in weights:
            for index, block in one.blocks.items():
                for name, layer in block.layers().items():
                    self.register_buffer(f"{index}:{name}:weight", layer.weight, persistent=False)
                    self.register_buffer(f"{index}:{name}:bias", layer.bias, persistent=False)

    def part(self, first: int, last: int) -> tuple[StackedWeights, ...]:
        """Return the weights of the sub-tasks from ``first`` to before ``last``, by resolution."""
        if (first, last) not in self._parts:
            whole = self._parts[0, len(self.tasks)]
            self._parts[first, last] = tuple(one.part(first, last) for one in whole)
        return self._parts[first, last]
