"""Weights of several sub-tasks side by side, so that one product serves them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.methods.share.block import EPS
from harness.methods.share.corrections.parts import Correction, OwnBlock


@dataclass(frozen=True)
class LowRank:
    """Corrections of T sub-tasks.

    Attributes:
        inward: V of all tasks [m D, T r].
        bias: v of all tasks [T r].
        outward: U by task [T, r, D].
    """

    inward: Tensor
    bias: Tensor
    outward: Tensor

    @classmethod
    def of(cls, parts: Sequence[Correction]) -> "LowRank":
        """Put the corrections of sub-tasks side by side."""
        # Columns of V lie task by task, so that the hidden values of a task are neighbours.
        layers = [part.inward for part in parts if part.inward is not None]
        outward: list[Tensor] = [part.outward for part in parts if part.outward is not None]
        weight = torch.cat([layer.weight for layer in layers])  # [T r, m D]
        return cls(weight.t(), torch.cat([layer.bias for layer in layers]), torch.stack(outward))


@dataclass(frozen=True)
class Linears:
    """A linear layer of T sub-tasks.

    Attributes:
        weight: [T, d_in, d_out].
        bias: [T, 1, d_out].
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layers: Sequence[nn.Module]) -> "Linears":
        """Stack layers of one shape."""
        weights = [layer.get_parameter("weight").t() for layer in layers]
        return cls(torch.stack(weights), torch.stack([layer.get_parameter("bias") for layer in layers])[:, None])

    def __call__(self, x: Tensor) -> Tensor:
        """Map [T, M, d_in] to [T, M, d_out]."""
        return torch.baddbmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class Norms:
    """Scale and shift of a layer norm of T sub-tasks, each [T, 1, D]."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, norms: Sequence[nn.Module]) -> "Norms":
        """Stack norms of one width."""
        weight, bias = (torch.stack([norm.get_parameter(key) for norm in norms])[:, None] for key in ("weight", "bias"))
        return cls(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise each token of [T, M, D]."""
        normed = nn.functional.layer_norm(x, x.shape[-1:], eps=EPS)
        return torch.addcmul(self.bias, normed, self.weight)


@dataclass(frozen=True)
class Blocks:
    """One own block of T sub-tasks.

    Attributes:
        norm1: Before attention.
        qkv: To queries, or to queries, keys and values.
        proj: Of the attended values.
        norm2: Before the MLP.
        fc1: Its first layer.
        fc2: Its second layer.
    """

    norm1: Norms
    qkv: Linears
    proj: Linears
    norm2: Norms
    fc1: Linears
    fc2: Linears

    @classmethod
    def of(cls, blocks: Sequence[OwnBlock]) -> "Blocks":
        """Stack the same block of several sub-tasks."""
        norms = [Norms.of([getattr(block, name) for block in blocks]) for name in ("norm1", "norm2")]
        linears = {
            name: Linears.of([getattr(block, name) for block in blocks]) for name in ("qkv", "proj", "fc1", "fc2")
        }
        return cls(norm1=norms[0], norm2=norms[1], **linears)


@dataclass(frozen=True)
class Stack:
    """All that one product serves together, of sub-tasks in one order.

    Attributes:
        low_rank: Their corrections; None where they have none.
        scorers: Layer [T, D] and bias [T] that score tokens; None where all tokens are active or none is.
        blocks: Their own blocks by number, those that run.
    """

    low_rank: LowRank | None
    scorers: tuple[Tensor, Tensor] | None
    blocks: dict[int, Blocks]
