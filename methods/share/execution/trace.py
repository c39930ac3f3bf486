"""Traces: the activations of a block that other runs are compared with or taken from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Activations:
    """Inputs and outputs of one block's products, all [B, N, ...].

    Attributes:
        norm1: Input of ``qkv``, D wide.
        qkv: Queries, keys and values, 3 D.
        context: Attended values, input of ``proj``, D.
        proj: Attention branch, D.
        norm2: Input of the MLP, D.
        fc2: MLP branch, D.
    """

    norm1: Tensor
    qkv: Tensor
    context: Tensor
    proj: Tensor
    norm2: Tensor
    fc2: Tensor


@dataclass(frozen=True)
class Hidden:
    """The hidden layer of a block's MLP, [B, N, 4 D].

    Attributes:
        fc1: Before its activation.
        act: After it.
    """

    fc1: Tensor
    act: Tensor


Keep = Literal["nothing", "gated", "all"]
"""Kept by a dense run: nothing; what token gates compare and reuse; or the hidden layers too, which are the bulk."""


@dataclass(frozen=True)
class Reference:
    """A run that others are computed against: on images the base task's.

    Attributes:
        entries: Tokens [B, N, D] before the blocks at which sub-tasks begin to differ, and after the last block, by
            block.
        activations: Activations by block, of the blocks that a sub-task computes too.
        hidden: Hidden layers of these blocks, where they are needed.
    """

    entries: Mapping[int, Tensor]
    activations: Mapping[int, Activations]
    hidden: Mapping[int, Hidden]
