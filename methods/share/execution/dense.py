"""Dense execution: every token through every product."""

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import BlockWeights, Execution
from harness.methods.share.execution.trace import Activations, Hidden, Keep


class Dense(Execution):
    """Computes everything and keeps a trace where it is asked to.

    Args:
        keep: What to keep.

    Attributes:
        activations: Activations by block, of every block run so far.
        hidden: Hidden layers by block, likewise.
    """

    def __init__(self, keep: Keep = "nothing") -> None:
        self.keep = keep
        self.activations: dict[int, Activations] = {}
        self.hidden: dict[int, Hidden] = {}
        # First half of a block's trace, from `attend` until `mlp` completes it.
        self._attended: tuple[Tensor, Tensor, Tensor, Tensor]

    def attend(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Attend with every token."""
        qkv = weights.qkv.linear(u)  # [B, N, 3 D]
        context = weights.context(qkv)  # [B, N, D]
        out = weights.proj.linear(context)
        self._attended = (u, qkv, context, out)
        return out

    def mlp(self, index: int, u: Tensor, weights: BlockWeights) -> Tensor:
        """Run every token through the MLP."""
        hidden = weights.fc1.linear(u)  # [B, N, 4 D]
        act = F.gelu(hidden)
        out = weights.fc2.linear(act)
        if self.keep != "nothing":
            self.activations[index] = Activations(*self._attended, u, out)
        if self.keep == "all":
            self.hidden[index] = Hidden(hidden, act)
        return out
