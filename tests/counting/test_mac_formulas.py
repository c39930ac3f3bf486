"""Our own count equals the formula written out, whatever mode the forward pass runs in."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_cases import ATTENTION, CASES, HEADS, B, C, N, SelfAttention
from torch import Tensor, nn
from torch.nn import functional as F

from harness.counting import count_macs
from harness.counting.formulas import scaled_dot_product_attention


@contextlib.contextmanager
def bf16(mode: Callable[[], contextlib.AbstractContextManager[object]]) -> Iterator[None]:
    with mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield


MODES = {
    "grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "grad bf16": lambda: bf16(torch.enable_grad),
    "inference bf16": lambda: bf16(torch.inference_mode),
}

few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", CASES)
def test_the_count_is_the_formula(name: str, training: bool, mode: str) -> None:
    case = CASES[name]
    module, x = case.module().train(training), torch.randn(case.shape)
    with MODES[mode]():
        count = count_macs(lambda: module(x))
    assert count.macs == case.macs
    assert count.unsupported == {}


@pytest.mark.parametrize("name", ["conv, norm, bilinear x2", "attention by products", "linear"])
def test_all_other_arithmetic_is_the_same_in_every_mode(name: str) -> None:
    case = CASES[name]
    module, x = case.module().eval(), torch.randn(case.shape)
    outputs = set()
    for mode in MODES.values():
        with mode():
            outputs.add(count_macs(lambda: module(x)).elementwise_outputs)
    assert len(outputs) == 1


def test_fused_attention_layers_are_fused_when_they_are_counted() -> None:
    """Else the cases above would say nothing of them."""
    module, x = SelfAttention(need_weights=True).eval(), torch.randn(B, N, C)
    with torch.inference_mode():
        fused = count_macs(lambda: module(x))
    assert fused.macs == B * ATTENTION
    assert fused.elementwise_outputs == 0, "a softmax was seen"


def test_cross_attention_projects_queries_and_keys_each_at_their_own_length() -> None:
    module = nn.MultiheadAttention(C, HEADS, batch_first=True)
    query, key = torch.randn(B, N, C), torch.randn(B, 7, C)
    count = count_macs(lambda: module(query, key, key))
    assert count.macs == B * (2 * N * C * C + 2 * 7 * C * C + 2 * N * 7 * C)


def test_every_query_head_counts_where_heads_share_keys() -> None:
    query, key = torch.randn(2, 6, 5, 8), torch.randn(2, 3, 9, 8)
    count = count_macs(lambda: F.scaled_dot_product_attention(query, key, key, enable_gqa=True))
    assert count.macs == 2 * 6 * 5 * 9 * (8 + 8)


def test_values_of_another_width_than_the_keys() -> None:
    query, key, value = torch.randn(2, 6, 5, 8), torch.randn(2, 6, 9, 8), torch.randn(2, 6, 9, 4)
    count = count_macs(lambda: F.scaled_dot_product_attention(query, key, value))
    assert count.macs == 2 * 6 * 5 * 9 * (8 + 4)


@pytest.mark.parametrize(
    ("operator", "further"),
    [
        ("_scaled_dot_product_flash_attention", ()),
        ("_scaled_dot_product_flash_attention_for_cpu", ()),
        ("_scaled_dot_product_efficient_attention", (None, False)),
        ("_scaled_dot_product_cudnn_attention", (None, False)),
    ],
)
def test_the_attention_of_every_device(operator: str, further: tuple[object, ...]) -> None:
    query, key = torch.empty(2, 4, 5, 8, device="meta"), torch.empty(2, 4, 9, 8, device="meta")
    count = count_macs(lambda: getattr(torch.ops.aten, operator)(query, key, key, *further))
    assert count.macs == 2 * 4 * 5 * 9 * (8 + 8)
    assert scaled_dot_product_attention(None, query, key, key[..., :4]) == 2 * 4 * 5 * 9 * (8 + 4)


MATRIX, VECTOR, BATCH = torch.randn(4, 6), torch.randn(6), torch.randn(3, 4, 6)


@pytest.mark.parametrize(
    ("call", "macs"),
    [
        (lambda: MATRIX @ MATRIX.T, 4 * 6 * 4),
        (lambda: MATRIX @ VECTOR, 4 * 6),
        (lambda: VECTOR @ VECTOR, 6),
        (lambda: BATCH @ VECTOR, 3 * 4 * 6),
        (lambda: torch.vdot(VECTOR, VECTOR), 6),
        (lambda: torch.addmm(torch.zeros(4), MATRIX, MATRIX.T), 4 * 6 * 4),
        (lambda: torch.zeros(4, 4).addmm_(MATRIX, MATRIX.T), 4 * 6 * 4),
        (lambda: torch.mm(MATRIX, MATRIX.T, out=torch.empty(4, 4)), 4 * 6 * 4),
        (lambda: torch.addmv(torch.zeros(4), MATRIX, VECTOR), 4 * 6),
        (lambda: torch.baddbmm(torch.zeros(3, 4, 4), BATCH, BATCH.mT), 3 * 4 * 6 * 4),
        (lambda: torch.addbmm(torch.zeros(4, 4), BATCH, BATCH.mT), 3 * 4 * 6 * 4),
        (lambda: torch.einsum("bij,kj->bik", BATCH, MATRIX), 3 * 4 * 6 * 4),
        (lambda: torch.tensordot(BATCH, BATCH, dims=([0, 2], [0, 2])), 4 * (3 * 6) * 4),
        (lambda: torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)), 32 * 16 * 8),
    ],
)
def test_products_of_matrices_and_vectors(call: Callable[[], Tensor], macs: int) -> None:
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            assert count_macs(call).macs == macs


@few
@given(
    batch=st.integers(0, 3),
    rows=st.integers(0, 5),
    inner=st.integers(1, 9),
    outer=st.integers(1, 9),
    bias=st.booleans(),
)
def test_linear_of_any_shape(batch: int, rows: int, inner: int, outer: int, bias: bool) -> None:
    layer = nn.Linear(inner, outer, bias=bias)
    with torch.inference_mode():
        assert count_macs(lambda: layer(torch.randn(batch, rows, inner))).macs == batch * rows * inner * outer


@few
@given(data=st.data())
def test_convolution_of_any_shape(data: st.DataObject) -> None:
    draw, small = data.draw, st.integers(1, 3)
    groups, per_group, outs, batch = draw(small), draw(small), draw(small), draw(st.integers(0, 2))
    kernel, stride, dilation, padding = draw(small), draw(small), draw(small), draw(st.integers(0, 2))
    height, width = draw(st.integers(7, 12)), draw(st.integers(7, 12))
    images = torch.randn(batch, groups * per_group, height, width)
    shape = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}

    def size(side: int) -> int:
        return (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    layer = nn.Conv2d(groups * per_group, groups * outs, kernel, **shape)
    forward = batch * size(height) * size(width) * (groups * outs) * per_group * kernel**2
    assert count_macs(lambda: layer(images)).macs == forward

    turned = nn.ConvTranspose2d(groups * per_group, groups * outs, kernel, **shape)
    assert count_macs(lambda: turned(images)).macs == batch * height * width * (groups * per_group) * outs * kernel**2


STORED = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
ROWS = torch.randn(5, 4)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda: F.linear(ROWS, STORED.to_sparse_csr()),
        lambda: F.linear(ROWS, STORED.to_sparse_csr(), torch.zeros(3)),
        lambda: STORED.to_sparse_csr() @ ROWS.T,
        lambda: torch.sparse.mm(STORED.to_sparse_csr(), ROWS.T),
        lambda: torch.sparse.mm(STORED.to_sparse(), ROWS.T),
        lambda: ROWS @ STORED.T.to_sparse_csc(),
    ],
)
def test_of_a_sparse_operand_the_stored_values_multiply(call: Callable[[], Tensor]) -> None:
    count = count_macs(call)
    assert count.macs == 3 * 5
    assert count.unsupported == {}
