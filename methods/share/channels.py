"""Rows that are not computed anew, corrected for the output channels whose weights changed.

The weight difference acts on every row, whether its input changed or not: W_s x = W_b x + dW x + W_s dx. Where whole
output channels differ, dW x is a narrow dense product over the base's input, exact for rows with dx = 0.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import Affine, BlockWeights


@dataclass(frozen=True)
class ChangedChannels:
    """Output channels [r] of each product of a block whose weights differ from the base's."""

    qkv: Tensor
    proj: Tensor
    fc1: Tensor
    fc2: Tensor

    @classmethod
    def between(cls, base: BlockWeights, sub: BlockWeights) -> "ChangedChannels":
        """Compare the weights of a sub-task with the base's."""

        def changed(name: str) -> Tensor:
            ours: Affine = getattr(sub, name)
            theirs: Affine = getattr(base, name)
            return ((ours.weight != theirs.weight).any(1) | (ours.bias != theirs.bias)).nonzero()[:, 0]

        return cls(**{name: changed(name) for name in ("qkv", "proj", "fc1", "fc2")})


def linear_of_unchanged(x: Tensor, out: Tensor, layer: Affine, channels: Tensor) -> Tensor:
    """Return ``out`` with ``channels`` computed anew.

    Args:
        x: The base's input, [B, N, d_in].
        out: The base's output, [B, N, d_out].
        layer: The sub-task's weights.
        channels: Output channels that differ, [r].
    """
    anew = F.linear(x, layer.weight.index_select(0, channels), layer.bias.index_select(0, channels))
    return out.index_copy(-1, channels, anew)


def mlp_of_unchanged(x: Tensor, act: Tensor, out: Tensor, weights: BlockWeights, changed: ChangedChannels) -> Tensor:
    """Return the MLP branch of unchanged rows: changed hidden channels act on all outputs, changed outputs on all.

    Args:
        x: The base's input of the MLP, [B, N, D].
        act: The base's activated hidden layer, [B, N, 4 D].
        out: The base's MLP branch, [B, N, D].
        weights: The sub-task's weights.
        changed: Its channels that differ.
    """
    fc1, fc2 = weights.fc1, weights.fc2
    hidden = F.linear(x, fc1.weight.index_select(0, changed.fc1), fc1.bias.index_select(0, changed.fc1))
    anew = F.gelu(hidden)
    difference = anew - act.index_select(-1, changed.fc1)
    out = out + F.linear(difference, fc2.weight.index_select(1, changed.fc1))
    return linear_of_unchanged(act.index_copy(-1, changed.fc1, anew), out, fc2, changed.fc2)
