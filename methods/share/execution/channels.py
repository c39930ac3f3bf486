"""Changed output channels: exact correction of tokens whose input did not change.

The weight difference acts on every token, whether its input changed or not: W_s x = W_b x + dW x + W_s dx. Where whole
output channels differ, dW x is a narrow dense product over the base's input, exact for tokens with dx = 0.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import Affine, BlockWeights, Product

ChangedChannels = Mapping[Product, Tensor]
"""Output channels [r] of each product of a block whose weights differ from the base's."""


def changed_channels(base: BlockWeights, sub: BlockWeights) -> ChangedChannels:
    """Compare the weights of a sub-task with the base's."""
    found = {}
    for product in Product:
        ours, theirs = sub.layer(product), base.layer(product)
        found[product] = ((ours.weight != theirs.weight).any(1) | (ours.bias != theirs.bias)).nonzero()[:, 0]
    return found


def corrected_linear(x: Tensor, out: Tensor, layer: Affine, channels: Tensor) -> Tensor:
    """Return ``out`` with ``channels`` computed again.

    Args:
        x: The base's input, [B, N, d_in].
        out: The base's output, [B, N, d_out].
        layer: The sub-task's weights.
        channels: Output channels that differ, [r].
    """
    again = F.linear(x, layer.weight.index_select(0, channels), layer.bias.index_select(0, channels))  # [B, N, r]
    return out.index_copy(-1, channels, again)


def corrected_mlp(x: Tensor, act: Tensor, out: Tensor, weights: BlockWeights, changed: ChangedChannels) -> Tensor:
    """Return the MLP branch [B, N, D] of tokens whose input did not change.

    Changed hidden channels act on all outputs, changed output channels act on all hidden values.

    Args:
        x: The base's input of the MLP, [B, N, D].
        act: The base's activated hidden layer, [B, N, 4 D].
        out: The base's MLP branch, [B, N, D].
        weights: The sub-task's weights.
        changed: Its channels that differ.
    """
    fc1, fc2 = weights.fc1, weights.fc2
    narrow = changed[Product.FC1]
    # 1. The hidden channels that differ: h_s = gelu(W1_s x + b1_s), [B, N, r].
    hidden = F.gelu(F.linear(x, fc1.weight.index_select(0, narrow), fc1.bias.index_select(0, narrow)))
    # 2. Their difference through the second layer's weights of the sub-task: y += W2_s (h_s - h_b).
    out = out + F.linear(hidden - act.index_select(-1, narrow), fc2.weight.index_select(1, narrow))
    # 3. The output channels that differ, from the corrected hidden layer.
    return corrected_linear(act.index_copy(-1, narrow, hidden), out, fc2, changed[Product.FC2])
