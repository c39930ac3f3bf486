"""Kinds of ATen operators: contractions without a formula, and pure data movement."""

import re
from typing import Any

import torch
from torch._ops import OpOverload

_SILENT_NAMESPACES = ("prim", "profiler", "c10d", "_c10d_functional")

_CONTRACTION = re.compile(
    r"""(?:^|_)(?:
        [a-z0-9]*mm | matmul | (?:add)?mv | v?dot | einsum | tensordot | (?:bi|tri)?linear   # matrix products
        | conv(?:olution|[123]d)? | attention | transformer | rnn | lstm | gru                  # layers
        | cdist | euclidean | affine | fft | cholesky | inverse | solve | ormqr                 # built on products
        | linalg(?!_(?:vector_)?norm|_cross|_diagonal)
    )(?:_|$)""",
    re.VERBOSE,
)
"""Words in the names of contractions: operators that sum products over an axis. Interpolations carry the number of
dimensions (``bilinear2d``) and so are none."""

_COPIES = """
    alias clone copy _to_copy _to_dense lift _reshape_copy _unsafe_view _pin_memory
"""
_ARRANGEMENTS = """
    cat stack _chunk_cat block_diag repeat roll flip rot90 constant_pad_nd reflection_pad1d reflection_pad2d
    reflection_pad3d replication_pad1d replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle
    channel_shuffle im2col unsafe_split unsafe_split_with_sizes tril triu diag_embed
"""
_SELECTIONS = """
    gather index index_select _unsafe_index _unsafe_masked_index take masked_select masked_fill where embedding
    index_put _unsafe_index_put _index_put_impl index_copy index_fill scatter masked_scatter select_scatter
    slice_scatter diagonal_scatter as_strided_scatter nonzero nonzero_static _local_scalar_dense
"""
_NEW = """
    empty empty_like empty_strided empty_permuted new_empty new_empty_strided new_full new_ones new_zeros zeros
    zeros_like ones ones_like full full_like fill zero arange linspace logspace eye scalar_tensor tril_indices
    triu_indices rand rand_like randn randn_like randint randint_like randperm uniform normal bernoulli exponential
"""
_MOVING = frozenset((_COPIES + _ARRANGEMENTS + _SELECTIONS + _NEW).split())


def may_multiply(name: str) -> bool:
    """Return whether an operator sums products, judged by its name.

    Operators that are none of torch's own may do anything, and so count as contractions.

    Args:
        name: With its namespace, as in ``aten::mm``.
    """
    namespace, _, operator = name.partition("::")
    if namespace == "aten":
        return _CONTRACTION.search(operator) is not None
    return namespace not in _SILENT_NAMESPACES or operator.startswith("PythonOp")  # of an autograd function, traced


def only_moves(operator: "OpOverload[..., Any]") -> bool:
    """Return whether an operator writes nothing but values it was given, or constants.

    These are views, reshapes, copies and casts, concatenation and padding, gathering, scattering and selection, and
    new tensors. All else is arithmetic: sums, activations, norms, softmax, pooling, interpolation, comparisons.
    """
    name = operator._schema.name.partition("::")[2]
    view = operator.is_view or torch.Tag.inplace_view in operator.tags
    return view or name.endswith("_copy") or name.removesuffix("_") in _MOVING
