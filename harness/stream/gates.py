"""Gates: the tokens that changed enough against their reference to be computed again."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.stream.policy import StreamPolicy

BUCKETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Fractions of tokens that kernels of fixed shapes are run with."""


@dataclass(frozen=True)
class Active:
    """Some rows of every sample of a batch, the same number of each.

    Attributes:
        index: Places in the flattened rows [B N, C], [B k].
        count: k, rows per sample.
    """

    index: Tensor
    count: int

    def take(self, x: Tensor) -> Tensor:
        """Return these rows [B, k, C] of ``x`` [B, N, C]."""
        return x.flatten(0, 1).index_select(0, self.index).view(len(x), self.count, x.shape[-1])

    def put(self, values: Tensor, into: Tensor) -> None:
        """Overwrite these rows of ``into`` [B, N, C], which is contiguous, by ``values`` [B, k, C]."""
        into.view(-1, into.shape[-1]).index_copy_(0, self.index, values.flatten(0, 1).to(into.dtype))


def mean_square_change(x: Tensor, reference: Tensor) -> Tensor:
    """Return the mean square difference of each row, [B, N], without gradient."""
    with torch.no_grad():
        return (x - reference).square_().mean(-1)


class Gate:
    """Chooses active rows by a policy, with settings of its own for tokens and for rows of heads.

    Args:
        policy: Of the stream.
        fraction: Fraction of active rows under top-k.
        threshold: Root mean square change under threshold and budgeted.
        first: Whether the first row, the class token, is active wherever any row is.

    Attributes:
        bucket: Fraction of tokens that stands for the whole frame where buckets are in use; None until the first gate
            of the frame chose it.
    """

    def __init__(self, policy: StreamPolicy, fraction: float, threshold: float, first: bool) -> None:
        self.policy, self.fraction, self.threshold, self.first = policy, fraction, threshold, first
        self.bucket: float | None = None

    def choose(self, change: Tensor, time: int) -> Active | None:
        """Return the active rows by their mean square change [B, N]; None for all of them.

        Args:
            change: Mean squares; changed in place.
            time: Number of the frame, for `StreamPolicy.roll`.

        Raises:
            UsageError: several streams in step have different numbers of rows above a threshold.
        """
        policy, (batch, count) = self.policy, change.shape
        forced = 0
        if policy.roll is not None:  # rows r = t (mod P), so that no row is older than P frames
            change[:, time % policy.roll :: policy.roll] = torch.inf
            forced = len(range(time % policy.roll, count, policy.roll))
            forced += self.first and time % policy.roll > 0  # the class token takes no place of theirs
        if policy.select == "top-k":
            return self._largest(change, min(count, wanted(self.fraction, count) + forced))
        buckets = change.is_cuda if policy.buckets is None else policy.buckets
        if buckets:
            if self.bucket is None:  # the one host read of the frame
                above = int((change > self.threshold**2).sum(1).max())
                limit = wanted(policy.cap, count) if policy.select == "budgeted" else count
                self.bucket = bucket_of(min(above, limit) / count)
            return self._largest(change, math.ceil(self.bucket * count))
        if batch > 1:
            raise UsageError(
                "several streams in one batch need the same number of active tokens: select top-k, or open one each"
            )
        return self._above(change)

    def _largest(self, change: Tensor, wanted: int) -> Active | None:
        """Return the rows of the largest change of each sample, the class token among them."""
        batch, count = change.shape
        if wanted >= count:
            return None
        if wanted and self.first:
            change[:, 0] = torch.inf
        # Sorted, so that rows are read in their order in memory.
        index = change.topk(wanted, dim=1, sorted=False).indices.sort(dim=1).values  # [B, k]
        start = count * torch.arange(batch, device=index.device)[:, None]  # place of each sample's first row, [B, 1]
        return Active((index + start).flatten(), wanted)

    def _above(self, change: Tensor) -> Active | None:
        """Return the rows of one sample above the threshold; all, or the largest, where they are many."""
        policy, count = self.policy, change.shape[1]
        above = change[0] > self.threshold**2
        index = above.nonzero()[:, 0]
        if not len(index):
            return Active(index, 0)
        if policy.select == "budgeted" and len(index) > wanted(policy.cap, count):
            return self._largest(change, wanted(policy.cap, count))  # what is cut off stays due
        if policy.select == "threshold" and len(index) > policy.dense_above * count:
            return None
        if self.first and int(index[0]) != 0:
            index = torch.cat((index.new_zeros(1), index))
        return Active(index, len(index)) if len(index) < count else None


def wanted(fraction: float, count: int) -> int:
    """Return a fraction of rows, rounded up."""
    # 0.3 * 10 is 3.0000000000000004 in floating point and must not become 4.
    return min(count, math.ceil(fraction * count - 1e-9))


def bucket_of(fraction: float) -> float:
    """Return the smallest bucket that holds a fraction of rows; 0 for none."""
    return next((bucket for bucket in BUCKETS if fraction <= bucket), 1.0) if fraction > 0 else 0.0
