"""Weights and images that need no file: every value follows from the key and the shape of the tensor that holds it.

Two networks with the same state dict so get the same weights, and expected outputs are all that must be stored.
"""

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

NARROW = ("pos_embed", "cls_token", "prompt", "bias_table", "mask_token")
"""Parts of the keys of embeddings and tables, which are drawn narrowly, as networks initialise them."""


def tensor_of(key: str, shape: Sequence[int]) -> Tensor:
    """Return the values of a state-dict entry, drawn from a generator that the key seeds.

    Matrices and kernels keep the variance of what they multiply; scales lie around one, variances above a half.
    """
    draws = torch.Generator().manual_seed(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if key.endswith("running_var"):
        return 0.5 + torch.rand(*shape, generator=draws)
    values = torch.randn(*shape, generator=draws)
    if key.endswith("running_mean"):
        return values * 0.1
    if any(part in key for part in NARROW):
        return values * 0.02
    if len(shape) > 1:
        return values / math.sqrt(max(1, math.prod(shape[1:])))
    return values * 0.1 + (1.0 if key.endswith(".weight") else 0.0)


@torch.no_grad()
def set_weights(model: nn.Module, left: Sequence[str] = ()) -> None:
    """Give a model its deterministic weights; integers, and keys that contain a string of ``left``, stay as built."""
    for key, entry in model.state_dict().items():
        if entry.is_floating_point() and not any(part in key for part in left):
            entry.copy_(tensor_of(key, entry.shape))


def image(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Return the fixed input of a shape (batch, channels, height, width)."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(12345 + seed))


def relative_error(output: Tensor, at: Sequence[Sequence[int]], values: Sequence[float], deviation: float) -> float:
    """Return the largest error over sampled positions as a share of the standard deviation of the whole output.

    Args:
        output: [1, C, H, W].
        at: Positions as (channel, row, column).
        values: What is expected there.
        deviation: Standard deviation of the reference's whole output.
    """
    channels, rows, columns = torch.tensor(at).T
    error = output[0, channels, rows, columns].double() - torch.tensor(values, dtype=torch.float64)
    return error.abs().max().item() / max(deviation, 1e-6)
