"""Weight differences: density, granularity, rounding, phases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.methods.share.delta import LearnedDelta, SparseTensor, StoredDelta

SHAPES = {"a.weight": (12, 8), "a.bias": (12,), "conv.weight": (6, 3, 3, 3)}
ELEMENTS = 12 * 8 + 12 + 6 * 27


def learned(granularity: str = "element", values: str = "fp32") -> LearnedDelta:
    weights = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    delta = LearnedDelta(weights, granularity, values)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight, logits in zip(delta.weights, delta.logits, strict=True):
            weight.copy_(torch.randn(weight.shape, generator=generator))
            logits.copy_(3 * torch.randn(logits.shape, generator=generator))
    return delta


@given(density=st.floats(0.01, 1.0))
@settings(max_examples=30, deadline=None)
def test_the_density_is_kept_and_is_that_of_the_stored_values(density: float) -> None:
    delta = learned()
    delta.binarise(density, ELEMENTS)
    delta.eval()
    stored = sum(sparse.index.numel() for sparse in delta.sparse().values())
    shown = sum(int(change.count_nonzero()) for _, change in delta.differences())
    assert stored == shown
    assert stored <= density * ELEMENTS


def test_the_largest_differences_are_kept_with_the_gates_multiplied_in() -> None:
    delta = learned()
    before = {name: change.detach().clone() for name, change in delta.eval().differences()}
    delta.binarise(0.2, ELEMENTS)
    after = dict(delta.eval().differences())
    kept = torch.cat([after[name].flatten() for name in SHAPES])
    whole = torch.cat([before[name].flatten() for name in SHAPES])
    places = kept.nonzero()[:, 0]
    torch.testing.assert_close(kept[places], whole[places], msg="the values go on where the gates left them")
    rest = whole.abs().clone()
    rest[places] = 0
    assert rest.max() <= whole.abs()[places].min()


def test_channels_differ_as_a_whole() -> None:
    delta = learned("channel")
    delta.binarise(0.3, ELEMENTS)
    for name, change in delta.eval().differences():
        rows = change.reshape(len(change), -1) != 0
        assert (rows.all(1) | ~rows.any(1)).all(), name
        assert rows.any() or name == "a.bias"


def test_what_is_masked_stays_zero_while_the_rest_is_trained() -> None:
    delta = learned()
    delta.binarise(0.2, ELEMENTS)
    delta.train()
    zero = {name: change == 0 for name, change in delta.differences()}
    optimizer = torch.optim.SGD(delta.weights.parameters(), lr=1.0)
    torch.stack([(change - 3).square().sum() for _, change in delta.differences()]).sum().backward()
    optimizer.step()
    for name, change in delta.differences():
        assert (change[zero[name]] == 0).all()
        assert (change[~zero[name]] != 0).all()


def test_half_precision_is_what_is_evaluated_and_stored() -> None:
    delta = learned(values="fp16")
    delta.binarise(None, ELEMENTS)
    for _, change in delta.eval().differences():
        assert torch.equal(change, change.half().float())


def test_stored_differences_are_the_learned_ones() -> None:
    delta = learned()
    delta.binarise(0.3, ELEMENTS)
    stored = StoredDelta(delta.eval().sparse()).eval()
    for (name, ours), (other, theirs) in zip(delta.differences(), stored.differences(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs)
    count = sum(parameter.numel() for parameter in stored.parameters())
    assert count == sum(sparse.index.numel() for sparse in delta.sparse().values()), "only what is stored counts"


def test_merged_weights_follow_training_and_the_phase_is_part_of_the_state() -> None:
    delta = learned()
    base = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    delta.binarise(None, ELEMENTS)
    first = delta.eval().merged(base)["a.weight"].clone()
    delta.train()
    with torch.no_grad():
        delta.weights[0].mul_(2)
    second = delta.eval().merged(base)["a.weight"]
    torch.testing.assert_close(second - 1, 2 * (first - 1))
    again = learned()
    again.load_state_dict(delta.state_dict())
    assert again.phase == "mask"


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 2, 2)])
def test_sparse_tensors_are_undone(shape: tuple[int, ...]) -> None:
    dense = torch.randn(shape) * (torch.rand(shape) < 0.5)
    assert torch.equal(SparseTensor.of(dense).dense(), dense)
