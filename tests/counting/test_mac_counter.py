"""What is counted where, what is not, and what is reported instead."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from harness.counting import attributed_to, count_macs, may_multiply
from harness.counting.parts import _stacks as work_in_progress

X = torch.randn(2, 7, 8)
PER_ROW = 8 * 5


def linear() -> nn.Linear:
    return nn.Linear(8, 5)


class Rows(nn.Module):
    """Computes the rows whose first value is positive alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()

    def forward(self, x: Tensor) -> Tensor:
        rows = (x[..., 0] > 0).nonzero(as_tuple=True)
        out = x.new_zeros(*x.shape[:-1], 5)
        out[rows] = self.layer(x[rows])
        return out


@pytest.mark.parametrize("positive", [0, 1, 9, 14])
def test_of_gathered_rows_those_that_are_launched_count(positive: int) -> None:
    x = -torch.ones(2, 7, 8)
    x.view(14, 8)[:positive] = 1
    with torch.inference_mode():
        model = Rows()
        assert count_macs(lambda: model(x)).macs == positive * PER_ROW


def test_a_backward_pass_is_not_counted() -> None:
    layer = linear()
    assert count_macs(lambda: layer(X).sum().backward()).macs == 14 * PER_ROW
    assert layer.weight.grad is not None


def test_shapes_suffice_so_large_models_count_without_memory() -> None:
    with torch.device("meta"):
        layer, x = nn.Linear(10**5, 10**5), torch.empty(3, 10**5)
    assert count_macs(lambda: layer(x)).macs == 3 * 10**10


def test_a_compiled_model_counts_as_it_runs_uncompiled() -> None:
    layer = linear()
    compiled = torch.compile(layer, backend="eager")
    compiled(X)
    assert count_macs(lambda: compiled(X), {"layer": layer}).per_part == {"layer": 14 * PER_ROW}


def test_an_outer_count_sees_what_an_inner_one_counts() -> None:
    layer, inner = linear(), []

    def call() -> None:
        with attributed_to("outside"):
            inner.append(count_macs(lambda: layer(X), {"layer": layer}))

    outer = count_macs(call)
    assert inner[0].per_part == {"layer": 14 * PER_ROW}
    assert outer.per_part == {"outside": 14 * PER_ROW}


class HalfStored(Tensor):
    """Stands for [2 M, K] and holds [M, K], as structured sparsity does."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "HalfStored":
        shape = (2 * held.shape[0], held.shape[1])
        stored: HalfStored = Tensor._make_wrapper_subclass(cls, shape, dtype=held.dtype)  # type: ignore[attr-defined]
        stored.held = held
        return stored

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is torch.ops.aten.mm.default
        product = func(args[0].held, args[1])
        return torch.cat([product, product])


def test_a_tensor_that_launches_operators_of_its_own_counts_what_it_launches() -> None:
    weight = HalfStored(torch.randn(3, 8))
    with torch.no_grad():
        count = count_macs(lambda: torch.mm(weight, X[0].T))
    assert count.macs == 3 * 8 * 7


# Parts


class Twice(nn.Module):
    """One layer called twice, one once, and a product of no module."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)
        self.heads = nn.ModuleDict({"a": linear(), "b": nn.Sequential(nn.Linear(8, 8), linear())})

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(self.shared(x))
        with attributed_to("mixing"):
            y = y @ y.mT @ y
        z: Tensor = self.heads["a"](y) + self.heads["b"](y)
        return z @ z.mT


SHARED, MIXING, HEAD_A, HEAD_B, REST = 2 * 14 * 64, 2 * 2 * 7 * 7 * 8, 14 * 40, 14 * (64 + 40), 2 * 7 * 7 * 5


def test_macs_go_to_the_parts_that_did_them() -> None:
    model = Twice()
    parts = {"shared": model.shared, "b": model.heads["b"], "idle": nn.Linear(1, 1)}
    count = count_macs(lambda: model(X), parts)
    expected = {"shared": SHARED, "b": HEAD_B, "idle": 0, "mixing": MIXING, "other": HEAD_A + REST}
    assert count.per_part == expected
    assert list(count.per_part) == list(expected)
    assert sum(count.per_part.values()) == count.macs


def test_inside_nested_parts_the_innermost_counts() -> None:
    model = Twice()
    parts = {"all": model, "deep": model.heads["b"][1], "b": model.heads["b"]}  # type: ignore[index]
    count = count_macs(lambda: model(X), parts)
    rest = SHARED + HEAD_A + REST
    assert count.per_part == {"all": rest, "deep": 14 * 40, "b": 14 * 64, "mixing": MIXING}


def test_a_container_without_a_forward_stands_for_its_children() -> None:
    model = Twice()
    count = count_macs(lambda: model(X), dict(model.named_children()))
    assert count.per_part == {"shared": SHARED, "heads": HEAD_A + HEAD_B, "mixing": MIXING, "other": REST}


def test_nothing_is_other_when_parts_did_it_all() -> None:
    layer = linear()
    assert count_macs(lambda: layer(X), {"layer": layer}).per_part == {"layer": 14 * PER_ROW}


def test_the_work_of_other_hooks_belongs_to_their_module() -> None:
    layer, before, after = linear(), torch.ones(8, 8), torch.ones(5, 5)
    layer.register_forward_pre_hook(lambda _, args: args[0] @ before)
    layer.register_forward_hook(lambda _module, _args, output: output @ after)
    assert count_macs(lambda: layer(X), {"layer": layer}).per_part == {"layer": 14 * (8 * 8 + PER_ROW + 5 * 5)}


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("on purpose")


def test_an_exception_leaves_no_hook_and_no_part_at_work() -> None:
    model = nn.Sequential(linear(), Failing())
    with pytest.raises(RuntimeError, match="on purpose"):
        count_macs(lambda: model(X), {"model": model, "layer": model[0]})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    assert work_in_progress.get() == ()
    layer = linear()
    assert count_macs(lambda: layer(X)).per_part == {"other": 14 * PER_ROW}


def test_a_part_that_fails_and_is_caught_is_left() -> None:
    failing, layer = Failing(), linear()

    def call() -> None:
        with pytest.raises(RuntimeError, match="on purpose"), attributed_to("named"):
            failing(X)
        layer(X)

    assert count_macs(call, {"failing": failing}).per_part == {"failing": 0, "other": 14 * PER_ROW}


def test_naming_a_part_changes_nothing_when_nobody_counts() -> None:
    with attributed_to("outside"):
        layer = linear()
        count = count_macs(lambda: layer(X))
    assert count.per_part == {"other": 14 * PER_ROW}, "it was named before the count began"


# Other arithmetic


@pytest.mark.parametrize(
    ("call", "outputs"),
    [
        (lambda x: x.relu(), 112),
        (lambda x: x + x, 112),
        (lambda x: x.clone().add_(1), 112),
        (lambda x: x > 0, 112),
        (lambda x: x.sum(-1), 14),
        (lambda x: x.softmax(-1), 112),
        (lambda x: F.layer_norm(x, (8,)), 112 + 2 * 14),  # the mean and deviation of every row with it
        (lambda x: F.max_pool1d(x, 2, return_indices=True), 2 * 56),
        (lambda x: F.interpolate(x, scale_factor=3, mode="linear"), 336),
        (lambda x: F.interpolate(x, scale_factor=3, mode="nearest"), 336),
        (lambda x: torch.zeros(7).index_add(0, torch.tensor([1, 2]), torch.ones(2)), 7),
        (lambda x: x.view(14, 8).t()[1:].contiguous(), 0),
        (lambda x: x.permute(2, 0, 1).reshape(-1), 0),
        (lambda x: x[x.new_ones(2, dtype=torch.bool)], 0),
        (lambda x: x.gather(1, torch.zeros(2, 1, 8, dtype=torch.long)), 0),
        (lambda x: torch.cat([x, x]).to(torch.bfloat16), 0),
        (lambda x: F.pad(x, (1, 1)), 0),
        (lambda x: torch.where(x.new_ones(1, dtype=torch.bool), x, x.new_zeros(1)), 0),
        (lambda x: torch.empty(3).fill_(2).copy_(x[0, 0, :3]), 0),
        (lambda x: list(x.unbind()) + list(x.split(3, 1)), 0),
    ],
)
def test_arithmetic_counts_its_outputs_and_moving_values_counts_nothing(
    call: Callable[[Tensor], object], outputs: int
) -> None:
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            count = count_macs(lambda: call(X))
        assert count.elementwise_outputs == outputs
        assert (count.macs, count.unsupported) == (0, {})


# Operators without a formula


@pytest.fixture
def square() -> Iterator[Callable[[Tensor], Tensor]]:
    library = torch.library.Library("counting_test", "FRAGMENT")
    library.define("square(Tensor x) -> Tensor")
    library.impl("square", lambda x: x @ x, "CPU")
    yield lambda x: torch.ops.counting_test.square(x)
    library._destroy()


def test_a_custom_operator_is_unseen(square: Callable[[Tensor], Tensor]) -> None:
    def call() -> None:
        square(torch.randn(4, 4))
        square(torch.randn(4, 4))

    count = count_macs(call)
    assert count.unsupported == {"counting_test::square": 2}
    assert (count.macs, count.elementwise_outputs) == (0, 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("call", "operator"),
    [
        (lambda: torch.cdist(X, X, p=1), "aten::_cdist_forward"),
        (lambda: torch.fft.fft(X), "aten::_fft_r2c"),
        (lambda: nn.Bilinear(8, 8, 5)(X, X), "aten::_trilinear"),
        (lambda: torch.linalg.inv(torch.eye(3)), "aten::linalg_inv_ex"),
        (lambda: torch.eye(3).to_sparse_csr() @ torch.eye(3).to_sparse_csr(), "aten::mm"),
        (lambda: F.linear(torch.nested.nested_tensor([X[0], X[1, :3]]), torch.ones(5, 8)), "aten::linear"),
    ],
)
def test_what_may_multiply_and_has_no_formula_is_unseen(call: Callable[[], object], operator: str) -> None:
    with torch.inference_mode(operator == "aten::linear"):
        count = count_macs(call)
    assert count.unsupported[operator] == 1
    assert count.macs == 0


@pytest.mark.filterwarnings("ignore:flex_attention:UserWarning")
def test_an_operator_of_functions_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    q = torch.randn(1, 1, 16, 16)
    count = count_macs(lambda: flex_attention(q, q, q))
    assert count.unsupported == {"flex_attention": 1}
    assert count.macs == 0


@pytest.mark.parametrize(
    "name",
    ["_softmax", "gelu", "native_layer_norm", "linalg_vector_norm", "upsample_bilinear2d", "grid_sampler_2d", "lgamma"],
)
def test_other_arithmetic_is_known_by_its_name(name: str) -> None:
    assert not may_multiply(f"aten::{name}")
