"""The interval of a paired ratio: what it covers where neighbouring rounds are alike, and where bursts hit them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probes.pairing import correlated_mean, pair_means, ratio_interval


def autoregressive(generator: np.random.Generator, rounds: int, correlation: float) -> np.ndarray:
    values = generator.normal(size=rounds)
    for place in range(1, rounds):
        values[place] = correlation * values[place - 1] + np.sqrt(1 - correlation**2) * values[place]
    return values


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_interval_covers_the_truth(correlation: float, bursts: bool) -> None:
    generator, sessions, rounds, covered = np.random.default_rng(5), 400, 66, 0
    for _ in range(sessions):
        logs = 0.05 * autoregressive(generator, rounds, correlation)
        if bursts:
            logs += (generator.random(rounds) < 0.05) * generator.choice((-1, 1), rounds) * 0.5
        _, low, high = ratio_interval([(value,) for value in np.exp(logs)], [(1.0,)] * rounds)
        covered += low <= 1 <= high
    assert 0.91 <= covered / sessions <= 0.99, "95 % wanted; 0.03 are three standard errors of the simulation"


def test_independent_values_have_the_textbooks_standard_error() -> None:
    values = np.array([1.0, -1.0, 0.5, -0.5] * 5)  # neighbours differ: no correlation to allow for, no outlier
    mean = correlated_mean(values)
    assert (mean.value, mean.freedom) == (0.0, 19)
    assert mean.square == pytest.approx(values.var(ddof=1) / 20)


def test_a_burst_counts_but_not_by_its_whole_height() -> None:
    values = np.array([1.0, -1.0, 0.5, -0.5] * 5)
    burst = values.copy()
    burst[7] = 1000.0
    reach = 3 * 1.4826 * np.median(np.abs(burst - np.median(burst)))
    assert correlated_mean(burst).value <= (reach + np.median(burst) - values[7]) / 20 + 1e-9


def test_equal_rounds_have_an_interval_without_width() -> None:
    assert ratio_interval([(2.0,)] * 12, [(1.0,)] * 12) == pytest.approx((2.0, 2.0, 2.0))


def test_pairs_leave_a_last_single_round_out() -> None:
    assert pair_means(np.array([1.0, 3.0, 5.0, 7.0, 100.0])).tolist() == [2.0, 6.0]


times = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=40)


@given(times, st.floats(0.1, 10))
def test_the_interval_includes_the_ratio_and_scales_with_it(rounds: list[tuple[float, float]], factor: float) -> None:
    ours, reference = [(one,) for one, _ in rounds], [(other,) for _, other in rounds]
    ratio, low, high = ratio_interval(ours, reference)
    assert low <= ratio <= high
    scaled = ratio_interval([(factor * one,) for (one,) in ours], reference)
    assert scaled == pytest.approx((factor * ratio, factor * low, factor * high), rel=1e-6)
