"""Inference of the ConvNeXt head: in place and by chunks, equal to the plain computation."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.counting import count_macs
from harness.heads import convnext
from harness.heads.convnext import ConvNeXtHead, task_head
from harness.problem import TaskSpec


def moved(head: ConvNeXtHead) -> ConvNeXtHead:
    """Move a head's weights away from their start, where biases are small."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head.eval()


def plain(head: ConvNeXtHead, features: Tensor) -> Tensor:
    """Predict as training does."""
    with torch.enable_grad():
        return head(features.clone().requires_grad_()).detach()


def fast(head: ConvNeXtHead, features: Tensor) -> Tensor:
    with torch.inference_mode():
        return head(features)


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).abs().max()) <= 3e-6 * max(float(theirs.abs().max()), 1.0)


@pytest.mark.parametrize(("task", "classes"), [("semseg", 40), ("depth", None), ("normals", None), ("boundary", None)])
@pytest.mark.parametrize("cells", [1, 2, 4])
def test_inference_equals_the_plain_head(task: str, classes: int | None, cells: int) -> None:
    torch.manual_seed(0)
    head = moved(task_head(TaskSpec(task, classes), 64, (44, 60), cells))
    features = torch.randn(2, 64, 5, 7)
    assert_equal(fast(head, features), plain(head, features))
    detail = torch.randn(2, 5 * cells, 7 * cells, head.project.out_features // cells**2)
    with torch.inference_mode():
        ours = head(features, detail)
    assert_equal(ours, head(features, detail).detach())


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    values=st.integers(1, 5000),
    channels=st.integers(8, 12),  # norms over one or two channels magnify rounding
    depth=st.integers(0, 3),
)
def test_the_size_of_chunks_does_not_matter(
    batch: int, size: tuple[int, int], values: int, channels: int, depth: int
) -> None:
    torch.manual_seed(batch)
    head = moved(ConvNeXtHead(8, 3 * channels, width=4 * channels, output_size=(9, 11), depth=depth, cells=2))
    features = torch.randn(batch, 8, *size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convnext, "_HIDDEN_VALUES", values)
        ours = fast(head, features)
    assert_equal(ours, plain(head, features))


def test_one_call_leaves_the_results_and_the_inputs_of_another_alone() -> None:
    torch.manual_seed(0)
    head = moved(task_head(TaskSpec("semseg", 12), 32, (16, 24)))
    first, second = torch.randn(2, 1, 32, 4, 6)
    kept = first.clone()
    one = fast(head, first)
    before = one.clone()
    two = fast(head, second)
    assert torch.equal(one, before)
    assert torch.equal(first, kept)
    assert torch.equal(fast(copy.deepcopy(head), first), before), "nothing is remembered"
    assert_equal(two, plain(head, second))


def test_as_much_is_multiplied_as_in_the_plain_head() -> None:
    head = moved(task_head(TaskSpec("normals"), 64, (20, 28)))
    features = torch.randn(2, 64, 5, 7)
    counted = count_macs(lambda: head(features))
    assert count_macs(lambda: fast(head, features)).macs == counted.macs
    assert not counted.unsupported


def test_gradients_are_those_of_the_plain_operators() -> None:
    head = moved(task_head(TaskSpec("depth"), 32, (12, 12)))
    features = torch.randn(1, 32, 3, 3)
    assert head(features).requires_grad
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(features).dtype is torch.bfloat16
