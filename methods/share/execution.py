"""The executions of a block: dense, gated by rows, and the paper's clamped outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import BlockWeights, Execution, attention
from harness.methods.share.channels import ChangedChannels, linear_of_unchanged, mlp_of_unchanged
from harness.methods.share.options import Policy, Queries
from harness.methods.share.rows import Rows, mean_square_change, rows_above, top_rows

SITES = ("qkv", "proj", "mlp")
"""The inputs of a block that are gated."""


@dataclass(frozen=True)
class Activations:
    """What one block computed, all [B, N, ...].

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


Keep = Literal["nothing", "rows", "all"]
"""What a run remembers: nothing, what rows are gated by, or the hidden layers too, which are the bulk."""


class Dense(Execution):
    """Computes everything and remembers what it is asked to.

    Args:
        keep: What to remember.

    Attributes:
        activations: Of every block run so far, by its index.
        hidden: Hidden layers, likewise.
    """

    def __init__(self, keep: Keep = "nothing") -> None:
        self.keep = keep
        self.activations: dict[int, Activations] = {}
        self.hidden: dict[int, Hidden] = {}
        self._attended: tuple[Tensor, Tensor, Tensor, Tensor]

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Attend with every row."""
        qkv = weights.qkv.linear(u)
        context = attention(qkv.chunk(3, dim=-1)[0], qkv, weights.heads)
        out = weights.proj.linear(context)
        self._attended = (u, qkv, context, out)
        return out

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Run every row through the MLP."""
        hidden = weights.fc1.linear(u)
        act = F.gelu(hidden)
        out = weights.fc2.linear(act)
        if self.keep != "nothing":
            self.activations[index] = Activations(*self._attended, u, out)
        if self.keep == "all":
            self.hidden[index] = Hidden(hidden, act)
        return out


class Clamped(Execution):
    """The released code's simulation: every product in full, then changes below a threshold set back.

    The outputs of ``qkv``, ``proj``, ``fc1`` and ``fc2`` whose difference from the base is smaller than the threshold
    take the base's value. Nothing is skipped.

    Args:
        reference: What the base computed, by block.
        hidden: Its hidden layers.
        threshold: Smallest difference that stays.
        kept: Receives, per block and product, the share of outputs that stayed; None for no account.
    """

    def __init__(
        self,
        reference: Mapping[int, Activations],
        hidden: Mapping[int, Hidden],
        threshold: float,
        kept: dict[tuple[int, str], float] | None = None,
    ) -> None:
        self.reference, self.hidden = reference, hidden
        self.threshold, self.kept = threshold, kept

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Attend with clamped queries, keys and values, and clamp the branch."""
        ref = self.reference[index]
        qkv = self._clamp(index, "qkv", weights.qkv.linear(u), ref.qkv)
        context = attention(qkv.chunk(3, dim=-1)[0], qkv, weights.heads)
        return self._clamp(index, "proj", weights.proj.linear(context), ref.proj)

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Clamp the hidden layer before its activation, and the branch."""
        hidden = self._clamp(index, "fc1", weights.fc1.linear(u), self.hidden[index].fc1)
        return self._clamp(index, "fc2", weights.fc2.linear(F.gelu(hidden)), self.reference[index].fc2)

    def _clamp(self, index: int, product: str, out: Tensor, reference: Tensor) -> Tensor:
        stays = (out - reference).abs() >= self.threshold
        if self.kept is not None:
            self.kept[index, product] = float(stays.float().mean())
        return out.where(stays, reference)


@dataclass(frozen=True)
class BlockGate:
    """The gate of one block.

    Attributes:
        share: Share of the rows that are active at each gated input, under the policy ``top-k``.
        thresholds: By input in the order of `SITES`: root mean square change above which a row is active, under the
            policy ``threshold``.
    """

    share: float
    thresholds: tuple[float, float, float]


class Observer(Protocol):
    """Looks on while rows are gated."""

    def __call__(self, index: int, site: str, rows: Rows | None, change: Tensor) -> None:
        """See what the gate of block ``index`` does at ``site``.

        Args:
            index: Block.
            site: One of `SITES`.
            rows: Active rows; None for all.
            change: Difference of the input from the base's, [B, N, C].
        """


@dataclass(frozen=True)
class Correction:
    """What the rows below a gate are corrected with.

    Attributes:
        channels: Output channels whose weights differ, by block.
        hidden: The base's hidden layers, by block.
    """

    channels: Mapping[int, ChangedChannels]
    hidden: Mapping[int, Hidden]


class RowGated(Execution):
    """Computes the rows that changed most against the base and takes the others from it.

    Args:
        reference: What the base computed, by block.
        gates: Gate by block.
        policy: How active rows are chosen.
        queries: Whose attention is computed: that of active rows, so that one gate serves ``qkv`` and ``proj``, or
            that of all rows.
        correction: Corrects the rows that are not computed; None leaves them as the base's.
        observe: Looks on; None for nobody.
    """

    def __init__(
        self,
        reference: Mapping[int, Activations],
        gates: Mapping[int, BlockGate],
        policy: Policy,
        queries: Queries,
        correction: Correction | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.reference, self.gates = reference, gates
        self.policy, self.queries = policy, queries
        self.correction, self.observe = correction, observe

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Update the keys and values of active rows, then attend."""
        ref = self.reference[index]
        rows = self._active(index, "qkv", u, ref.norm1)
        if rows is None:
            qkv = weights.qkv.linear(u)
        else:
            qkv = rows.put(weights.qkv.linear(rows.take(u)), self._unchanged_linear(index, "qkv", weights))
        queries = qkv.chunk(3, dim=-1)[0]
        if self.queries == "all":
            context = attention(queries, qkv, weights.heads)
            rows = self._active(index, "proj", context, ref.context)
            return self._project(index, context if rows is None else rows.take(context), rows, weights)
        if rows is not None:
            queries = rows.take(queries)
        return self._project(index, attention(queries, qkv, weights.heads), rows, weights)

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Run active rows through the MLP; one gate serves both its layers."""
        rows = self._active(index, "mlp", u, self.reference[index].norm2)
        hidden = weights.fc1.linear(u if rows is None else rows.take(u))
        out = weights.fc2.linear(F.gelu(hidden))
        return out if rows is None else rows.put(out, self._unchanged_mlp(index, weights))

    def _project(self, index: int, context: Tensor, rows: Rows | None, weights: BlockWeights) -> Tensor:
        out = weights.proj.linear(context)
        return out if rows is None else rows.put(out, self._unchanged_linear(index, "proj", weights))

    def _active(self, index: int, site: str, u: Tensor, reference: Tensor) -> Rows | None:
        """Return the active rows at a gated input; None for all."""
        gate = self.gates[index]
        rows = None
        if self.policy == "threshold":
            rows = rows_above(mean_square_change(u, reference), gate.thresholds[SITES.index(site)])
        elif gate.share < 1:
            rows = top_rows(mean_square_change(u, reference), gate.share)
        if self.observe is not None:
            self.observe(index, site, rows, u - reference)
        return rows

    def _unchanged_linear(self, index: int, product: str, weights: BlockWeights) -> Tensor:
        """Return what ``qkv`` or ``proj`` gives for rows below the gate."""
        ref = self.reference[index]
        x, out = (ref.norm1, ref.qkv) if product == "qkv" else (ref.context, ref.proj)
        if self.correction is None:
            return out
        channels = getattr(self.correction.channels[index], product)
        return linear_of_unchanged(x, out, getattr(weights, product), channels)

    def _unchanged_mlp(self, index: int, weights: BlockWeights) -> Tensor:
        """Return what the MLP gives for rows below the gate."""
        ref = self.reference[index]
        if self.correction is None:
            return ref.fc2
        act = self.correction.hidden[index].act
        return mlp_of_unchanged(ref.norm2, act, ref.fc2, weights, self.correction.channels[index])
