"""Hard-concrete gates: their closed forms against draws, finite differences and other processes."""

import subprocess
import sys

import pytest
import torch

from harness.methods.share.delta import HIGH, LOW, LearnedDelta, deterministic_gates, open_probability, sample_gates


@pytest.mark.parametrize("logit", [-3.0, -0.5, 0.0, 1.0, 4.0])
def test_the_share_of_open_gates_is_the_closed_form(logit: float) -> None:
    draws = 200_000
    gates = sample_gates(torch.full((draws,), logit), torch.Generator().manual_seed(0))
    expected = float(open_probability(torch.tensor(logit)))
    spread = (expected * (1 - expected) / draws) ** 0.5
    assert float((gates > 0).float().mean()) == pytest.approx(expected, abs=5 * spread + 1e-4)
    assert gates.min() >= 0
    assert gates.max() <= 1


def test_the_gradient_of_a_draw_is_its_finite_difference() -> None:
    logits = torch.linspace(-3, 3, 41, dtype=torch.float64, requires_grad=True)

    def total(at: torch.Tensor) -> torch.Tensor:
        gates = sample_gates(at, torch.Generator().manual_seed(5))
        return (gates * torch.linspace(1, 2, 41, dtype=torch.float64)).sum()

    [gradient] = torch.autograd.grad(total(logits), logits)
    step = 1e-6
    with torch.no_grad():
        for place in range(41):
            shift = torch.zeros_like(logits)
            shift[place] = step
            slope = (total(logits + shift) - total(logits - shift)) / (2 * step)
            assert float(gradient[place]) == pytest.approx(float(slope), abs=1e-6)
    assert (gradient != 0).any()
    assert (gradient == 0).any(), "gates that are clipped have no gradient"


def test_deterministic_gates_are_the_stretched_sigmoid_and_open_above_zero() -> None:
    logits = torch.tensor([-2.0, -1e-3, 1e-3, 0.5, 6.0])
    by_hand = [min(max(float(torch.sigmoid(x)) * (HIGH - LOW) + LOW, 0), 1) for x in logits]
    assert deterministic_gates(logits).tolist() == pytest.approx(by_hand)
    assert ((deterministic_gates(logits) > 0) == (logits > 0)).all()


DRAW = """
import sys, torch
from harness.methods.share.delta import LearnedDelta
for seed, extra in zip(*[map(int, sys.argv[1:])] * 2):
    delta = LearnedDelta({"a.weight": torch.ones(6, 4), "a.bias": torch.ones(6)}, "element", "fp32")
    with torch.no_grad():
        for weight, logits in zip(delta.weights, delta.logits):
            weight.fill_(1), logits.zero_()
    torch.manual_seed(seed)
    torch.rand(extra)  # whatever else is drawn
    delta.reseed(torch.initial_seed())
    print([round(float(v), 6) for _, change in delta.differences() for v in change.flatten()])
"""


def test_processes_with_one_seed_draw_the_same_gates_whatever_else_they_draw() -> None:
    def draws(*seeds_and_extras: int) -> list[str]:
        command = [sys.executable, "-c", DRAW, *map(str, seeds_and_extras)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    seven, eight = draws(7, 0, 8, 0)
    assert draws(7, 100) == [seven]
    assert seven != eight


def test_the_expected_number_of_open_gates_counts_elements_and_tensors() -> None:
    delta = LearnedDelta({"a.weight": torch.ones(6, 4), "a.bias": torch.ones(6)}, "element", "fp32")
    with torch.no_grad():
        for logits in (*delta.logits, *delta.tensor_logits):
            logits.fill_(0.0)
    assert delta.expected_l0_norm().item() == pytest.approx((24 + 6 + 2) / 2)
    channels = LearnedDelta({"a.weight": torch.ones(6, 4)}, "channel", "fp32")
    with torch.no_grad():
        for logits in (*channels.logits, *channels.tensor_logits):
            logits.fill_(0.0)
    assert channels.expected_l0_norm().item() == pytest.approx((6 + 1) / 2)
