"""Token-gated execution: only the tokens that changed most against the reference are computed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import BlockWeights, Execution, Product, Site
from harness.methods.share.execution.channels import ChangedChannels, corrected_linear, corrected_mlp
from harness.methods.share.execution.trace import Reference
from harness.methods.share.options import Policy, Queries
from harness.methods.share.windows import Partition
from harness.stream.gates import Active, mean_square_change


class Tokens(Active):
    """Some tokens of every image of a batch, the same number of each, of a map that may need its gradient."""

    def replaced(self, values: Tensor, into: Tensor) -> Tensor:
        """Return a copy of ``into`` [B, N, C] whose tokens at these places are ``values`` [B, k, C]."""
        return into.flatten(0, 1).index_copy(0, self.index, values.flatten(0, 1)).view_as(into)


def rounded_up(fraction: float, tokens: int) -> int:
    """Return a fraction of ``tokens``, rounded up."""
    # 0.3 * 10 is 3.0000000000000004 in floating point and must not become 4.
    return min(tokens, math.ceil(fraction * tokens - 1e-9))


def top_tokens(change: Tensor, fraction: float) -> Tokens:
    """Return the ``fraction`` of tokens of each image with the largest change, rounded up.

    Their number follows from the shape alone, so that nothing waits for the device.

    Args:
        change: [B, N].
        fraction: Between 0 and 1.
    """
    b, n = change.shape
    count = rounded_up(fraction, n)
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


@dataclass(frozen=True)
class TokenGate:
    """The gate of one block.

    Attributes:
        fraction: Fraction of the tokens that are active at each gated input, under the policy ``top-k``.
        thresholds: By input in the order of `Site`: root mean square change above which a token is active, under the
            policy ``threshold``.
    """

    fraction: float
    thresholds: tuple[float, float, float]

    def active(self, site: Site, change: Tensor, policy: Policy) -> Tokens | None:
        """Return the active tokens by their mean square change [B, N]; None for all."""
        if policy == "threshold":
            return tokens_above(change, self.thresholds[list(Site).index(site)])
        return top_tokens(change, self.fraction) if self.fraction < 1 else None


class Observer(Protocol):
    """Receives the decision of every gate."""

    def __call__(self, index: int, site: Site, tokens: Tokens | None, change: Tensor) -> None:
        """Record the decision of the gate of block ``index`` at ``site``.

        Args:
            index: Block.
            site: Gated input.
            tokens: Active tokens; None for all.
            change: Difference of the input from the reference's, [B, N, C].
        """


class TokenGated(Execution):
    """Computes the tokens that changed most against a reference and takes the others from it.

    Args:
        reference: The base's run.
        gates: Gate by block.
        policy: How active tokens are chosen.
        queries: The tokens whose attention is computed: active ones, so that one gate serves ``qkv`` and ``proj``, or
            all of them.
        channels: Output channels whose weights differ, by block: they are computed for inactive tokens too. None
            leaves inactive tokens as the reference's.
        observe: Receives every decision; None for nobody.
    """

    def __init__(
        self,
        reference: Reference,
        gates: Mapping[int, TokenGate],
        policy: Policy,
        queries: Queries,
        channels: Mapping[int, ChangedChannels] | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.reference, self.gates = reference, gates
        self.policy, self.queries = policy, queries
        self.channels, self.observe = channels, observe

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Update the keys and values of active tokens, then attend."""
        ref = self.reference.activations[index]
        # 1. Queries, keys and values of active tokens over the reference's, [B, N, 3 D].
        windows = None if weights.windows is None or self.queries == "all" else weights.windows.partition
        active = self._choose(index, Site.QKV, u, ref.norm1, windows)
        if active is None:
            qkv = weights.qkv.linear(u)
        else:
            inactive = self._inactive(index, Product.QKV, weights, ref.norm1, ref.qkv)
            qkv = active.replaced(weights.qkv.linear(active.take(u)), inactive)
        # 2. Attention of the tokens that ask, over all keys and values they see, [B, k or N, D].
        if self.queries == "active":
            anywhere = self.policy == "threshold"
            context = weights.context(qkv) if active is None else weights.context_of(active, qkv, anywhere)
        else:
            context = weights.context(qkv)
            active = self._choose(index, Site.PROJ, context, ref.context)
            context = context if active is None else active.take(context)
        # 3. Projection of active tokens, the others from the reference.
        out = weights.proj.linear(context)
        if active is None:
            return out
        return active.replaced(out, self._inactive(index, Product.PROJ, weights, ref.context, ref.proj))

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Run active tokens through the MLP; one gate serves both its layers."""
        ref = self.reference.activations[index]
        active = self._choose(index, Site.MLP, u, ref.norm2)
        hidden = F.gelu(weights.fc1.linear(u if active is None else active.take(u)))  # [B, k or N, 4 D]
        out = weights.fc2.linear(hidden)
        if active is None:
            return out
        inactive = ref.fc2
        if self.channels is not None:
            act = self.reference.hidden[index].act
            inactive = corrected_mlp(ref.norm2, act, ref.fc2, weights, self.channels[index])
        return active.replaced(out, inactive)

    def _choose(
        self, index: int, site: Site, u: Tensor, reference: Tensor, windows: Partition | None = None
    ) -> Tokens | None:
        """Return the active tokens at a gated input, and let the observer see them; None for all.

        With windows, a fixed fraction of tokens lies in a fixed number of them.
        """
        gate = self.gates[index]
        active = None
        if self.policy == "threshold" or gate.fraction < 1:  # with every token active nothing needs comparing
            change = mean_square_change(u, reference)
            if windows is not None and self.policy == "top-k":
                change = windows.within(change, rounded_up(gate.fraction, change.shape[1]))
            active = gate.active(site, change, self.policy)
        if self.observe is not None:
            self.observe(index, site, active, u - reference)
        return active

    def _inactive(self, index: int, product: Product, weights: BlockWeights, x: Tensor, out: Tensor) -> Tensor:
        """Return the output of ``qkv`` or ``proj`` for inactive tokens, from the reference's input and output."""
        if self.channels is None:
            return out
        return corrected_linear(x, out, weights.layer(product), self.channels[index][product])
