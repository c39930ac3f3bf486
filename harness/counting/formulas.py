"""MAC formulas per ATen operator, from the tensors it is called with.

One multiply-accumulate is one scalar product added to a sum. A bias adds and does not multiply, so it counts nothing.
What a kernel multiplies by padding counts: it is multiplied. A causal mask is not taken off either, since only some
kernels skip what it hides.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

Formula = Callable[..., int | None]
"""The result of an operator and its positional arguments to its MACs; None where these do not determine them."""


def mm(out: Tensor, left: Tensor, right: Tensor, *_: Any) -> int | None:
    """[..., M, K] times [..., K, N]: M K N for every matrix; of a sparse operand its stored values alone multiply."""
    # MACs = M K N; a stored value of one operand meets N (or M) values of the other.
    if _is_sparse(left) and _is_sparse(right):
        return None  # it depends on where the stored values meet
    if _is_sparse(right):
        return left.shape[-2] * _stored(right)
    return _stored(left) * right.shape[-1]


def mv(out: Tensor, left: Tensor, right: Tensor, *_: Any) -> int:
    """[M, K] or [K] times [K]: every value that ``left`` stores multiplies once."""
    # MACs = M K: one product per stored value of the matrix (or of the first vector, where M is 1)
    return _stored(left)


def with_addend(formula: Formula) -> Formula:
    """Return ``formula`` for an operator that takes what it adds to as its first argument."""

    def count(out: Tensor, addend: Tensor, *operands: Any) -> int | None:
        return formula(out, *operands)

    return count


def convolution(
    out: Tensor,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    *_: Any,
) -> int:
    """[B, C, *spatial] with [O, C / groups, *kernel]: the whole weight at every output position.

    A transposed convolution spreads every input position over the whole weight [C, O / groups, *kernel] instead.
    """
    # MACs = B H_out W_out (C / groups) O K_h K_w, and the weight holds (C / groups) O K_h K_w values
    return _positions(images if transposed else out) * weight.numel()


def conv_forward(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    """A convolution by an operator that knows no transposed one."""
    # MACs = B H_out W_out (C / groups) O K_h K_w, as above
    return _positions(out) * weight.numel()


def conv_transpose(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    """A transposed convolution by an operator that knows no other."""
    # MACs = B H_in W_in C (O / groups) K_h K_w: every input value is spread over the kernel
    return _positions(images) * weight.numel()


def scaled_dot_product_attention(out: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Queries [B, H, L, D], keys [B, H', S, D] and values [B, H', S, E]: H L S (D + E) for every sample.

    Heads are counted on the queries: where several of them share keys (H' < H), each multiplies on its own.
    """
    # Q K^T takes L S D and its product with V takes L S E, per sample and head; the softmax is element-wise.
    return prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def convolution_backward(
    out: Any,
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    wanted: list[bool],
    *_: Any,
) -> int:
    """Gradients of a convolution: each of images and weight takes as many products as the convolution itself."""
    # MACs = (1 or 2) x those of the forward pass; the gradient of the bias only adds
    return (wanted[0] + wanted[1]) * _positions(images if transposed else gradient) * weight.numel()


def attention_backward(out: Any, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Gradients of fused attention, which multiplies queries and keys again: H L S (3 D + 2 E) for every sample."""
    # Q K^T again, dQ and dK take L S D each; dP = dO V^T and dV = P^T dO take L S E each
    return prod(query.shape[:-1]) * key.shape[-2] * (3 * query.shape[-1] + 2 * value.shape[-1])


def attention_backward_biased(
    out: Any, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Any, *_: Any
) -> int:
    """The same by the kernel that takes a bias after the values."""
    return attention_backward(out, gradient, query, key, value)


def native_multi_head_attention(
    out: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    *_: Any,
) -> int:
    """`nn.MultiheadAttention` as one operator, which takes queries, keys and values of one shape [B, L, D] alone.

    Three projections in (``in_weight`` [3D, D]), the two products of attention, one projection out.
    """
    batch, length, _width = query.shape
    # MACs = B L (3 D^2 + D^2) for the projections, and B L^2 2 D for Q K^T and its product with V
    projections = batch * length * (in_weight.numel() + out_weight.numel())
    return projections + batch * length * length * 2 * width


def transformer_encoder_layer_fwd(
    out: Any,
    tokens: Tensor,
    width: int,
    heads: int,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    gelu: bool,
    norm_first: bool,
    epsilon: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    wide_weight: Tensor,
    wide_bias: Tensor,
    narrow_weight: Tensor,
    *_: Any,
) -> int:
    """`nn.TransformerEncoderLayer` as one operator on [B, L, D]: self-attention, then the two layers of the MLP."""
    attention = native_multi_head_attention(out, tokens, tokens, tokens, width, heads, in_weight, in_bias, out_weight)
    batch, length, _width = tokens.shape
    # MACs of the MLP = B L (D F + F D), with F the width of its hidden layer
    return attention + batch * length * (wide_weight.numel() + narrow_weight.numel())


FORMULAS: dict[str, Formula] = {
    # matrix times matrix; the add* variants take the addend first
    "mm": mm,
    "bmm": mm,
    "_int_mm": mm,
    "_scaled_mm": mm,
    "addmm": with_addend(mm),
    "addbmm": with_addend(mm),
    "baddbmm": with_addend(mm),
    "_addmm_activation": with_addend(mm),
    "_sparse_addmm": with_addend(mm),
    # matrix times vector, vector times vector
    "mv": mv,
    "dot": mv,
    "vdot": mv,
    "addmv": with_addend(mv),
    # convolutions, by the library or memory layout that runs them
    "convolution": convolution,
    "_convolution": convolution,
    "convolution_overrideable": convolution,
    "mkldnn_convolution": conv_forward,
    "cudnn_convolution": conv_forward,
    "cudnn_convolution_transpose": conv_transpose,
    "miopen_convolution": conv_forward,
    "miopen_convolution_transpose": conv_transpose,
    "miopen_depthwise_convolution": conv_forward,
    "_conv_depthwise2d": conv_forward,
    "conv_depthwise3d": conv_forward,
    "_slow_conv2d_forward": conv_forward,
    "slow_conv3d_forward": conv_forward,
    "slow_conv_dilated2d": conv_forward,
    "slow_conv_dilated3d": conv_forward,
    "slow_conv_transpose2d": conv_transpose,
    "slow_conv_transpose3d": conv_transpose,
    # fused attention, one entry per kernel
    "_scaled_dot_product_flash_attention_for_cpu": scaled_dot_product_attention,
    "_scaled_dot_product_flash_attention": scaled_dot_product_attention,
    "_scaled_dot_product_efficient_attention": scaled_dot_product_attention,
    "_scaled_dot_product_cudnn_attention": scaled_dot_product_attention,
    "_scaled_dot_product_fused_attention_overrideable": scaled_dot_product_attention,
    "_scaled_dot_product_attention_math_for_mps": scaled_dot_product_attention,
    # gradients; those of matrix products are matrix products
    "convolution_backward": convolution_backward,
    "_scaled_dot_product_flash_attention_for_cpu_backward": attention_backward,
    "_scaled_dot_product_flash_attention_backward": attention_backward,
    "_scaled_dot_product_cudnn_attention_backward": attention_backward,
    "_scaled_dot_product_efficient_attention_backward": attention_backward_biased,
    # layers of torch.nn that run as one kernel in inference mode
    "_native_multi_head_attention": native_multi_head_attention,
    "_transformer_encoder_layer_fwd": transformer_encoder_layer_fwd,
}
"""Formulas by the operator's name in ``aten``, without the underscore of in-place variants."""


def _is_sparse(matrix: Tensor) -> bool:
    return matrix.layout is not torch.strided


def _stored(operand: Tensor) -> int:
    """Return the values that multiply: all of a dense operand, the stored ones of a sparse operand."""
    if operand.layout is torch.sparse_coo:  # `_values` does not ask for a coalesced tensor as `values` does
        return operand._values().numel()
    return operand.values().numel() if _is_sparse(operand) else operand.numel()


def _positions(maps: Tensor) -> int:
    """Samples times places of [B, C, *spatial]."""
    return maps.shape[0] * prod(maps.shape[2:])
