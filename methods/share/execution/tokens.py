"""Active tokens: choosing them by their change, taking them out of a map and putting them back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Some tokens of every image of a batch, the same number of each.

    Attributes:
        index: Places in the flattened map [B N, C], [B k].
        count: k, tokens per image.
    """

    index: Tensor
    count: int

    def take(self, x: Tensor) -> Tensor:
        """Return these tokens [B, k, C] of ``x`` [B, N, C]."""
        return x.flatten(0, 1).index_select(0, self.index).view(len(x), self.count, x.shape[-1])

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """Return a copy of ``into`` [B, N, C] whose tokens at these places are ``values`` [B, k, C]."""
        return into.flatten(0, 1).index_copy(0, self.index, values.flatten(0, 1)).view_as(into)


def mean_square_change(x: Tensor, reference: Tensor) -> Tensor:
    """Return the mean square difference of each token, [B, N], without gradient."""
    with torch.no_grad():
        return (x - reference).square_().mean(-1)


def top_tokens(change: Tensor, fraction: float) -> Tokens:
    """Return the ``fraction`` of tokens of each image with the largest change, rounded up.

    Their number follows from the shape alone, so that nothing waits for the device.

    Args:
        change: [B, N].
        fraction: Between 0 and 1.
    """
    b, n = change.shape
    # 0.3 * 10 is 3.0000000000000004 in floating point and must not become 4.
    count = min(n, math.ceil(fraction * n - 1e-9))
    index = change.topk(count, dim=1, sorted=False).indices  # [B, k]
    first = n * torch.arange(b, device=index.device)[:, None]  # place of each image's first token, [B, 1]
    return Tokens((index + first).flatten(), count)


def tokens_above(change: Tensor, threshold: float) -> Tokens:
    """Return the tokens of one image whose root mean square change is larger than ``threshold``.

    Args:
        change: Mean squares, [1, N]; several images would have different numbers of tokens.
        threshold: Not negative.
    """
    # Comparing squares saves the root.
    index = (change[0] > threshold**2).nonzero()[:, 0]
    return Tokens(index, len(index))
