"""The multi-task gain where a figure is missing, and its sign."""

from typing import Any

import pytest

from harness.records.delta_m import delta_m
from harness.records.metric import Metric


def figure(value: float | None, **changes: Any) -> Metric:
    fields: dict[str, Any] = {"unit": "fraction", "higher_is_better": True, "n": 1, "protocol": "x"}
    reason = None if value is not None else "not measured"
    return Metric(value=value, reason=reason, **{**fields, **changes})


def test_lower_is_better_counts_against_the_rise() -> None:
    error = {"unit": "m", "higher_is_better": False}
    gain = delta_m(
        {"semseg": figure(0.55), "depth": figure(0.9, **error)},
        {"semseg": figure(0.5), "depth": figure(0.6, **error), "normals": figure(1.0)},
    )
    assert gain.value == pytest.approx((10 - 50) / 2)
    assert gain.reason is None


@pytest.mark.parametrize(
    ("measured", "reference", "reason"),
    [
        ({}, {"a": figure(1.0)}, "no task"),
        ({"a": figure(None)}, {"a": figure(1.0)}, "a: not measured"),
        ({"a": figure(1.0), "b": figure(1.0)}, {"a": figure(1.0)}, "b: the reference has no such task"),
        ({"a": figure(1.0)}, {"a": figure(None)}, "a: the reference has no value: not measured"),
        ({"a": figure(1.0)}, {"a": figure(0.0)}, "a: the reference value is 0"),
        (
            {"a": figure(1.0)},
            {"a": figure(1.0, unit="m")},
            "a: the reference is in m, this one in fraction",
        ),
    ],
)
def test_a_gain_over_some_of_the_tasks_is_no_gain(
    measured: dict[str, Metric], reference: dict[str, Metric], reason: str
) -> None:
    assert delta_m(measured, reference) == (None, reason)
