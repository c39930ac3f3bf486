"""Draws of images, the metrics on them, and the intervals that follow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SPECS, counted

from harness.protocol import Protocol
from harness.tasks import bootstrap
from harness.tasks.bootstrap import Drawn, draws_of, interval, resampled
from harness.tasks.median import histogram_median

SEEDS = [3, -4, 5, 6]


def statistics_of(name: str, profile: str, seeds: list[int]):
    meter = counted(name, Protocol.profile(profile), seeds)
    return meter, meter.statistics()


@given(images=st.integers(1, 60), draws=st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_a_draw_has_as_many_images_as_the_split_and_is_the_same_every_time(images: int, draws: int) -> None:
    found = draws_of.__wrapped__(images, draws)
    assert (found.sum(1) == images).all()
    np.testing.assert_array_equal(found, draws_of.__wrapped__(images, draws))


@pytest.mark.parametrize("profile", ["invpt", "share", "mtinet", "astmt"])
@pytest.mark.parametrize("name", SPECS)
def test_a_draw_is_the_meter_on_its_images(name: str, profile: str) -> None:
    meter, statistics = statistics_of(name, profile, SEEDS)
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 0, 0, 4], [0, 4, 0, 0]], np.uint8)
    found = resampled(meter, statistics, counts, every=True)
    for row, drawn in enumerate(counts):
        chosen = [seed for seed, count in zip(SEEDS, drawn, strict=True) for _ in range(count)]
        for metric, expected in counted(name, Protocol.profile(profile), chosen).compute().items():
            value = float(found[metric][row])
            if expected.value is None:
                assert not np.isfinite(value)
            elif metric == "median":  # read from a histogram of half degrees
                assert value == pytest.approx(expected.value, abs=0.5)
            else:
                assert value == pytest.approx(expected.value, rel=1e-12)


@pytest.mark.parametrize("name", SPECS)
def test_images_that_are_all_alike_leave_no_width(name: str) -> None:
    meter, statistics = statistics_of(name, "invpt", [3] * 6)
    values = resampled(meter, statistics, draws_of(6, 50))
    estimate = meter.metrics(statistics)[meter.headline].value
    assert estimate is not None
    found = interval(estimate, values[meter.headline], 6)
    assert found is not None
    assert found.half == pytest.approx(0, abs=1e-12)
    assert found.low == pytest.approx(estimate, abs=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_median_of_a_draw_is_that_of_its_values(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, counted_images = generator.normal(size=9), generator.random(9) < 0.7
    counts = draws_of(9, 12)
    found = Drawn({}, counts).median(values, counted_images)
    for drawn, value in zip(counts, found, strict=True):
        chosen = np.repeat(values[counted_images], drawn[counted_images])
        assert value == (pytest.approx(np.median(chosen)) if chosen.size else pytest.approx(np.nan, nan_ok=True))


def test_the_median_of_a_histogram_lies_inside_its_bin() -> None:
    counts = np.zeros((2, 360))
    counts[0, 40] = 4  # 20 to 20.5 degrees
    assert histogram_median(counts)[0] == pytest.approx(20.25)
    assert np.isnan(histogram_median(counts)[1])


def test_the_interval_of_a_mean_is_students() -> None:
    generator = np.random.default_rng(0)
    sample = generator.normal(10, 2, 50)
    means = Drawn({}, draws_of(50)).sum(sample) / 50
    found = interval(float(sample.mean()), means, 50)
    assert found is not None
    expected = 2.0096 * sample.std(ddof=1) / 50**0.5
    assert found.half == pytest.approx(expected, rel=0.03)
    assert (found.low + found.high) / 2 == pytest.approx(sample.mean(), abs=0.02)
    assert found.holds(10.0)


def test_too_few_images_and_draws_without_a_value_have_no_interval() -> None:
    assert interval(1.0, np.ones(10), 1) is None
    assert interval(1.0, np.array([1.0, np.nan, np.nan, np.nan]), 5) is None
    assert interval(1.0, np.array([1.0, 1.0, np.nan]), 5) == bootstrap.Interval(1.0, 1.0)
