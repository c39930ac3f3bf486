"""Layers that look at a whole batch, while each of several processes has a part of it: batch norms and drawn noise.

Within `whole_batch`, a batch norm takes its mean and variance over the images of all processes. Stochastic depth and
dropout draw the noise of the whole batch and use the rows of their own images; a model that draws noise itself takes it
from `noise_like`. It is what one process computes, up to rounding.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from harness.backbones.timm_parts import DropPath
from harness.backbones.timm_parts import drop_path as timm_drop_path
from harness.training import parallel


@dataclass(frozen=True)
class Rows:
    """Images of one process in the batch of all.

    Attributes:
        first: Number of the first one in the batch.
        stop: One past the last.
        batch: Images of the whole batch.
    """

    first: int
    stop: int
    batch: int

    @classmethod
    def of(cls, batch: int) -> "Rows":
        """Return the images of this process, of a batch of ``batch``; processes have equal numbers, or one more."""
        rank, world = parallel.rank(), parallel.world()
        return cls(rank * batch // world, (rank + 1) * batch // world, batch)

    @property
    def fraction(self) -> float:
        """Fraction of the batch."""
        return (self.stop - self.first) / self.batch


_rows: Rows | None = None
_torch_dropout = F.dropout


@contextlib.contextmanager
def whole_batch(model: nn.Module, rows: Rows) -> Iterator[None]:
    """Let the layers of a model in training see the batch of all processes while the block runs; alone, do nothing."""
    global _rows
    if parallel.world() == 1:
        yield
        return
    changed = []
    for module in model.modules():
        forward = _replacement(module)
        if forward is not None:  # an attribute of the instance hides the method of the class
            module.forward = forward
            changed.append(module)
    _rows = rows
    F.dropout = _dropout  # what models call it by, and nn.Dropout too
    try:
        yield
    finally:
        _rows = None
        F.dropout = _torch_dropout
        for module in changed:
            del module.forward


def _replacement(module: nn.Module) -> Callable[..., Tensor] | None:
    if isinstance(module, _BatchNorm):
        return partial(_norm, module)
    if isinstance(module, DropPath):
        return lambda x: drop_path(x, module.drop_prob, module.training, module.scale_by_keep)
    if isinstance(module, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
        return partial(_channel_dropout, module)
    return None


def drop_path(x: Tensor, rate: float, training: bool = False, scale_by_keep: bool = True) -> Tensor:
    """Leave out ``x`` for some images of a batch and scale the others up (stochastic depth, Huang et al., ECCV 2016).

    Args:
        x: A branch, [B, ...], or [B k, ...] with the k parts of each image side by side.
        rate: Probability that an image is left out.
        training: Without it, ``x`` is returned as it is.
        scale_by_keep: Whether those that stay are divided by 1 - ``rate``.
    """
    if _rows is None or rate == 0.0 or not training:
        dropped: Tensor = timm_drop_path(x, rate, training, scale_by_keep)
        return dropped
    # The noise of all images, drawn as one process draws it. [B k, 1, ...]
    mask = x.new_empty((_whole(x), *(1 for _ in x.shape[1:]))).bernoulli_(1 - rate)
    if scale_by_keep and rate < 1:
        mask.div_(1 - rate)
    return x * _own(mask, x)


def noise_like(x: Tensor) -> Tensor:
    """Draw standard normal noise for a batch in training, and return that of this process's images.

    Args:
        x: [B, ...], or [B k, ...] with the k parts of each image side by side.

    Returns:
        The shape of ``x``. Of the noise of the whole batch, as one process draws it, the rows of the own images.
    """
    if _rows is None:
        return torch.randn_like(x)
    return _own(torch.randn_like(x.new_empty((_whole(x), *x.shape[1:]))), x)


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Take the place of `torch.nn.functional.dropout`, whose signature it has."""
    assert _rows is not None
    if not training or p == 0 or len(input) % (_rows.stop - _rows.first):
        return _torch_dropout(input, p, training, inplace)
    return input * _own(_torch_dropout(input.new_ones((_whole(input), *input.shape[1:])), p, True), input)


def _channel_dropout(module: _DropoutNd, x: Tensor) -> Tensor:
    if not module.training or module.p == 0:
        return x
    shape = _whole(x), x.shape[1], *(1 for _ in x.shape[2:])
    return x * _own(_torch_dropout(x.new_ones(shape), module.p, True), x)


def _whole(x: Tensor) -> int:
    """Return the rows that ``x`` would have with the images of all processes."""
    assert _rows is not None
    return len(x) // (_rows.stop - _rows.first) * _rows.batch


def _own(noise: Tensor, x: Tensor) -> Tensor:
    """Return the rows of the noise that belong to the images of this process."""
    assert _rows is not None
    parts = len(x) // (_rows.stop - _rows.first)
    return noise[_rows.first * parts : _rows.stop * parts]


def _norm(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Run a batch norm with the statistics of all processes; otherwise as its own `forward` does."""
    if not norm.training:
        return type(norm).forward(norm, x)
    factor = norm.momentum
    if norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if factor is None:  # the average of all batches so far
            factor = 1.0 / float(norm.num_batches_tracked)
    y, mean, variance, count = _Normalised.apply(x, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        assert factor is not None
        with torch.no_grad():  # the running variance is the unbiased one
            norm.running_mean.lerp_(mean.to(norm.running_mean), factor)
            norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var), factor)
    result: Tensor = y
    return result


class _Normalised(torch.autograd.Function):
    """Normalisation by mean and variance over the images and pixels of all processes (Ioffe and Szegedy, ICML 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        wide = x if x.dtype == torch.float64 else x.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *(1 for _ in axes[1:])]
        # Mean first, then the squares around it: E[x^2] - E[x]^2 cancels in float32.
        sums = torch.cat([wide.sum(axes), wide.new_tensor([x.numel() // x.shape[1]])])
        sums = parallel.summed(sums)
        count = sums[-1]
        mean = sums[:-1] / count  # [C]
        centred = wide - mean.view(shape)
        variance = parallel.summed(centred.square().sum(axes)) / count  # [C]
        scale = (variance + eps).rsqrt()
        normal = centred * scale.view(shape)
        ctx.save_for_backward(normal, scale, weight)
        ctx.axes, ctx.shape, ctx.count, ctx.affine = axes, shape, count, bias is not None
        y = normal if weight is None else normal * weight.view(shape)
        y = y if bias is None else y + bias.view(shape)
        ctx.mark_non_differentiable(mean, variance, count)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        axes, shape = ctx.axes, ctx.shape
        wide = gradient.to(normal.dtype)
        # Gradients of bias and weight are those of the own images; they are averaged like all others.
        of_bias, of_weight = wide.sum(axes), (wide * normal).sum(axes)  # [C]
        # dx = w s (dy - mean(dy) - n mean(dy n)), with the means over all processes
        means = parallel.summed(torch.stack([of_bias, of_weight])) / ctx.count  # [2, C]
        of_x = wide - means[0].view(shape) - normal * means[1].view(shape)
        factor = scale if weight is None else scale * weight
        return (
            (of_x * factor.view(shape)).to(gradient.dtype),
            None if weight is None else of_weight.to(weight.dtype),
            of_bias if ctx.affine else None,
            None,
        )
