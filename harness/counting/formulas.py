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
"""The result of an operator and its positional arguments to its MACs; None where they cannot be told from these."""


def product(out: Tensor, left: Tensor, right: Tensor, *_: Any) -> int | None:
    """[..., M, K] times [..., K, N]: M K N for every matrix; of a sparse operand its stored values alone multiply."""
    # MACs = M K N; a stored value of one operand meets N (or M) values of the other.
    if _is_sparse(left) and _is_sparse(right):
        return None  # it depends on where the stored values meet
    if _is_sparse(right):
        return left.shape[-2] * _stored(right)
    return _stored(left) * right.shape[-1]


def vector_product(out: Tensor, left: Tensor, right: Tensor, *_: Any) -> int:
    """[M, K] or [K] times [K]: every value that ``left`` stores multiplies once."""
    return _stored(left)


def added(formula: Formula) -> Formula:
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


def forward_convolution(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    """A convolution by an operator that knows no transposed one."""
    return _positions(out) * weight.numel()


def transposed_convolution(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    """A transposed convolution by an operator that knows no other."""
    return _positions(images) * weight.numel()


def attention(out: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Queries [B, H, L, D], keys [B, H', S, D] and values [B, H', S, E]: H L S (D + E) for every sample.

    Heads are counted on the queries: where several of them share keys (H' < H), each multiplies on its own.
    """
    # Q K^T takes L S D and its product with V takes L S E, per sample and head; the softmax is element-wise.
    return prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def multi_head_attention(
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


def encoder_layer(
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
    mixing = multi_head_attention(out, tokens, tokens, tokens, width, heads, in_weight, in_bias, out_weight)
    batch, length, _width = tokens.shape
    return mixing + batch * length * (wide_weight.numel() + narrow_weight.numel())


FORMULAS: dict[str, Formula] = {
    "mm": product,
    "bmm": product,
    "_int_mm": product,
    "_scaled_mm": product,
    "addmm": added(product),
    "addbmm": added(product),
    "baddbmm": added(product),
    "_addmm_activation": added(product),
    "_sparse_addmm": added(product),
    "mv": vector_product,
    "dot": vector_product,
    "vdot": vector_product,
    "addmv": added(vector_product),
    "convolution": convolution,
    "_convolution": convolution,
    "convolution_overrideable": convolution,
    "mkldnn_convolution": forward_convolution,
    "cudnn_convolution": forward_convolution,
    "cudnn_convolution_transpose": transposed_convolution,
    "miopen_convolution": forward_convolution,
    "miopen_convolution_transpose": transposed_convolution,
    "miopen_depthwise_convolution": forward_convolution,
    "_conv_depthwise2d": forward_convolution,
    "conv_depthwise3d": forward_convolution,
    "_slow_conv2d_forward": forward_convolution,
    "slow_conv3d_forward": forward_convolution,
    "slow_conv_dilated2d": forward_convolution,
    "slow_conv_dilated3d": forward_convolution,
    "slow_conv_transpose2d": transposed_convolution,
    "slow_conv_transpose3d": transposed_convolution,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_flash_attention": attention,
    "_scaled_dot_product_efficient_attention": attention,
    "_scaled_dot_product_cudnn_attention": attention,
    "_scaled_dot_product_fused_attention_overrideable": attention,
    "_scaled_dot_product_attention_math_for_mps": attention,
    "_native_multi_head_attention": multi_head_attention,
    "_transformer_encoder_layer_fwd": encoder_layer,
}
"""Formulas by the operator's name in ``aten``, without the underscore of in-place variants."""


def _is_sparse(matrix: Tensor) -> bool:
    return matrix.layout is not torch.strided


def _stored(operand: Tensor) -> int:
    if operand.layout is torch.sparse_coo:
        return operand._values().numel()
    return operand.values().numel() if _is_sparse(operand) else operand.numel()


def _positions(maps: Tensor) -> int:
    """Samples times places of [B, C, *spatial]."""
    return maps.shape[0] * prod(maps.shape[2:])
