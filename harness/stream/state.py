"""State of a stream: the inputs and results of every block that the next frame starts from, updated in place."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class BlockState:
    """Rows of one block of one network, all [B, N, ...].

    Honest: ``u1`` (``u2``) is the input that ``kv`` and ``o`` (``y``) were computed from, row by row, by whichever
    weights computed them.

    Attributes:
        u1: Normed input of attention, D wide; None where another network chooses the rows.
        kv: Keys and values, 2 D; with the queries, 3 D, where all of them are read.
        o: Attention branch, D.
        u2: Normed input of the MLP, D; None as for ``u1``.
        y: MLP branch, D.
        ctx: Attended values that the attention branch was computed from, D; None unless all queries are read.
    """

    u1: Tensor | None
    kv: Tensor
    o: Tensor
    u2: Tensor | None
    y: Tensor
    ctx: Tensor | None = None

    @classmethod
    def empty(cls, like: Tensor, *, lean: bool, queries: bool) -> "BlockState":
        """Return unwritten rows.

        Args:
            like: Tokens [B, N, D] of the same type and place.
            lean: Whether another network chooses the rows, so that no reference is kept.
            queries: Whether all queries are read.
        """

        def rows(times: int) -> Tensor:
            return like.new_empty((*like.shape[:2], times * like.shape[2]))

        return cls(
            u1=None if lean else rows(1),
            kv=rows(3 if queries else 2),
            o=rows(1),
            u2=None if lean else rows(1),
            y=rows(1),
            ctx=rows(1) if queries else None,
        )

    def tensors(self) -> Iterator[Tensor]:
        """Yield what is held."""
        for held in (self.u1, self.kv, self.o, self.u2, self.y, self.ctx):
            if held is not None:
                yield held

    def take_from(self, other: "BlockState") -> None:
        """Take over all rows of another network's block, its references too."""
        for own, theirs in (
            (self.u1, other.u1),
            (self.kv, other.kv),
            (self.o, other.o),
            (self.u2, other.u2),
            (self.y, other.y),
            (self.ctx, other.ctx),
        ):
            if own is not None and theirs is not None:
                own.copy_(theirs)


@dataclass
class HeadState:
    """Rows of a gated head, [B, N, ...] for N tokens or cells.

    Attributes:
        features: Input of the projection, D per token.
        projected: Its result, E per token.
        inputs: Normed input of the pointwise MLP of each block, E per token.
        outputs: Its result.
        prediction: Last prediction before it was enlarged, [B, C, cells h, cells w].
    """

    features: Tensor
    projected: Tensor
    inputs: list[Tensor]
    outputs: list[Tensor]
    prediction: Tensor | None

    def tensors(self) -> Iterator[Tensor]:
        """Yield what is held."""
        yield from (self.features, self.projected, *self.inputs, *self.outputs)
        if self.prediction is not None:
            yield self.prediction


def total_bytes(tensors: Iterator[Tensor]) -> int:
    """Return the bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def block_state_bytes(tokens: int, width: int, *, lean: bool = False, queries: bool = False, element: int = 4) -> int:
    """Return the bytes of one block's state: 6 D per token, 4 D without references, 2 D more with all queries.

    >>> 12 * block_state_bytes(1025, 768) // 10**6  # ViT-B on 512 x 512 pixels, MB
    226
    """
    return tokens * width * element * ((4 if lean else 6) + (2 if queries else 0))


def allocate_like(x: Tensor, width: int, rows: int) -> Tensor:
    """Return unwritten rows [B, rows, width] of the type and place of ``x`` [B, ...]."""
    return torch.empty((x.shape[0], rows, width), dtype=x.dtype, device=x.device)
