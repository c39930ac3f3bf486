"""Choosing rows of token maps, taking them out and putting them back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Some rows of every image of a batch, equally many of each.

    Attributes:
        index: Rows of the flattened map [B N, C], [B k].
        count: k, rows per image.
    """

    index: Tensor
    count: int

    def take(self, x: Tensor) -> Tensor:
        """Return these rows [B, k, C] of ``x`` [B, N, C]."""
        return x.flatten(0, 1).index_select(0, self.index).view(len(x), self.count, x.shape[-1])

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """Return a copy of ``into`` [B, N, C] whose rows are ``values`` [B, k, C]."""
        return into.flatten(0, 1).index_copy(0, self.index, values.flatten(0, 1)).view_as(into)


def mean_square_change(x: Tensor, reference: Tensor) -> Tensor:
    """Return the mean square difference of each row, [B, N], without gradient."""
    with torch.no_grad():
        return (x - reference).square_().mean(-1)


def top_rows(change: Tensor, share: float) -> Rows:
    """Return the ``share`` of rows of each image with the largest change, rounded up.

    Their number follows from the shape alone, so that nothing waits for the device.

    Args:
        change: [B, N].
        share: Between 0 and 1.
    """
    b, n = change.shape
    count = min(n, math.ceil(share * n - 1e-9))
    index = change.topk(count, dim=1, sorted=False).indices
    return Rows((index + n * torch.arange(b, device=index.device)[:, None]).flatten(), count)


def rows_above(change: Tensor, threshold: float) -> Rows:
    """Return the rows of one image whose root mean square change is larger than ``threshold``.

    Args:
        change: Mean squares, [1, N]; several images would have unequally many rows.
        threshold: Not negative.
    """
    index = (change[0] > threshold**2).nonzero()[:, 0]
    return Rows(index, len(index))
