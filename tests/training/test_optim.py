import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.errors import MethodError
from harness.method import Optimizer, Schedule, Stage
from harness.training.optim import build_optimizer, lr_factor


def test_poly_by_hand() -> None:
    assert lr_factor(Schedule("poly", power=0.9), 30, 40) == pytest.approx(0.25**0.9)


def test_cosine_by_hand() -> None:
    schedule = Schedule("cosine", warmup=10)
    assert lr_factor(schedule, 0, 110) == pytest.approx(0.1)
    assert lr_factor(schedule, 9, 110) == pytest.approx(1.0)
    assert lr_factor(schedule, 60, 110) == pytest.approx(0.5)
    assert lr_factor(schedule, 85, 110) == pytest.approx((1 + math.cos(math.pi * 0.75)) / 2)


def test_a_cosine_may_end_above_zero() -> None:
    schedule = Schedule("cosine", floor=0.1)
    assert lr_factor(schedule, 0, 100) == pytest.approx(1.0)
    assert lr_factor(schedule, 50, 100) == pytest.approx(0.55)
    assert lr_factor(schedule, 100, 100) == pytest.approx(0.1)


def test_warm_up_may_be_counted_in_epochs() -> None:
    stage = Stage("s", (), 0, batch_size=8, epochs=10, schedule=Schedule("cosine", warmup_epochs=2)).sized(795)
    assert (stage.iterations, stage.schedule.warmup) == (990, 198)


def test_a_rate_that_is_set_once_per_epoch_stays_over_it() -> None:
    schedule = Schedule("poly", power=1.0, steps=100)
    rates = [lr_factor(schedule, iteration, 700) for iteration in range(700)]
    assert rates == pytest.approx([1 - epoch / 100 for epoch in range(100) for _ in range(7)])


def test_epochs_become_iterations_without_partial_batches() -> None:
    stage = Stage("s", (), 0, batch_size=8, epochs=100)
    assert stage.sized(795).iterations == 9900
    assert stage.sized(3).iterations == 100, "a set smaller than a batch gives one step per epoch"
    assert Stage("s", (), 340, batch_size=8).sized(795).iterations == 340


@given(
    name=st.sampled_from(["poly", "cosine", "constant"]),
    warmup=st.integers(0, 50),
    iterations=st.integers(1, 200),
    data=st.data(),
)
def test_the_factor_stays_in_the_unit_interval(name: str, warmup: int, iterations: int, data: st.DataObject) -> None:
    iteration = data.draw(st.integers(0, iterations - 1))
    factor = lr_factor(Schedule(name, warmup=warmup), iteration, iterations)  # type: ignore[arg-type]
    assert 0 <= factor <= 1


def test_only_what_a_stage_trains_is_trained_and_vectors_do_not_decay() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 4)})
    stage = Stage("s", (), 1, 1, optimizer=Optimizer("adamw", weight_decay=0.1), trainable=("b.",))
    groups = build_optimizer(model, stage).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [list(p.shape) for group in groups for p in group["params"]] == [[4, 3], [4]]
    assert not model["a"].weight.requires_grad


@pytest.mark.parametrize(
    ("name", "cls"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimisers_by_name(name: str, cls: type) -> None:
    stage = Stage("s", (), 1, 1, optimizer=Optimizer(name, lr=0.5, momentum=0.8))  # type: ignore[arg-type]
    optimizer = build_optimizer(nn.Linear(2, 2), stage)
    assert type(optimizer) is cls
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.5
    assert (group["momentum"] if name == "sgd" else group["betas"][0]) == 0.8


def test_a_stage_that_trains_nothing_is_an_error() -> None:
    with pytest.raises(MethodError, match="no parameter name starts with"):
        build_optimizer(nn.Linear(2, 2), Stage("s", (), 1, 1, trainable=("absent.",)))
