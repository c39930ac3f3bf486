"""Clamped execution: the released code's simulation of skipping (Shoouri et al., ICCV 2023)."""

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import BlockWeights, Execution, Product
from harness.methods.share.execution.trace import Reference


class Clamped(Execution):
    """Computes every product in full, then sets changes below a threshold back.

    An output of ``qkv``, ``proj``, ``fc1`` or ``fc2`` that differs from the reference by less than the threshold
    takes the reference's value. Nothing is skipped: a clamped output is known only after it was paid for.

    Args:
        reference: The base's run, with hidden layers.
        threshold: Smallest difference that stays.
        kept: Receives the fraction of outputs that stayed, by block and product; None for no account.
    """

    def __init__(
        self, reference: Reference, threshold: float, kept: dict[tuple[int, Product], float] | None = None
    ) -> None:
        self.reference = reference
        self.threshold, self.kept = threshold, kept

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Attend with clamped queries, keys and values, and clamp the branch."""
        ref = self.reference.activations[index]
        # Clamped queries, keys and values act on the attention, as in the released code.
        qkv = self._clamp(index, Product.QKV, weights.qkv.linear(u), ref.qkv)
        context = weights.context(qkv)
        return self._clamp(index, Product.PROJ, weights.proj.linear(context), ref.proj)

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Clamp the hidden layer before its activation, and the branch."""
        hidden = self._clamp(index, Product.FC1, weights.fc1.linear(u), self.reference.hidden[index].fc1)
        out = weights.fc2.linear(F.gelu(hidden))
        return self._clamp(index, Product.FC2, out, self.reference.activations[index].fc2)

    def _clamp(self, index: int, product: Product, out: Tensor, reference: Tensor) -> Tensor:
        # y = y_ref + d if |d| >= threshold else y_ref, element by element
        stays = (out - reference).abs() >= self.threshold
        if self.kept is not None:
            self.kept[index, product] = float(stays.float().mean())
        return out.where(stays, reference)
