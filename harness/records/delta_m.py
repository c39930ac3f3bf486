"""Multi-task gain over single-task references."""

from collections.abc import Mapping
from typing import NamedTuple

from harness.records.metric import LARGEST, Metric


class DeltaM(NamedTuple):
    """Multi-task gain in percent; positive is better. Null with the reason where it could not be had."""

    value: float | None
    reason: str | None = None


def delta_m(measured: Mapping[str, Metric], reference: Mapping[str, Metric]) -> DeltaM:
    """Return the mean relative gain of ``measured`` over ``reference``, in percent.

    100 / T * sum_i s_i (M_i - B_i) / B_i with s_i = 1 where higher is better and -1 where lower is
    (Maninis et al., CVPR 2019, equation 4, with the sign of Vandenhende et al., TPAMI 2021). A mean over
    some of the tasks would be another value, so one missing task makes the gain null.

    Args:
        measured: Task name to its headline value.
        reference: Task name to the value of the single-task model on the same backbone; may hold more tasks.
    """
    if not measured:
        return DeltaM(None, "no task")
    gains = []
    for task, metric in measured.items():
        base = reference.get(task)
        if metric.value is None:
            return DeltaM(None, f"{task}: {metric.reason}")
        if base is None:
            return DeltaM(None, f"{task}: the reference has no such task")
        if base.value is None:
            return DeltaM(None, f"{task}: the reference has no value: {base.reason}")
        if base.value == 0:
            return DeltaM(None, f"{task}: the reference value is 0")
        if base.unit != metric.unit:
            return DeltaM(None, f"{task}: the reference is in {base.unit}, this one in {metric.unit}")
        gain = (metric.value - base.value) / base.value
        gains.append(gain if metric.higher_is_better else -gain)
    value = 100 * sum(gains) / len(gains)
    if abs(value) > LARGEST:  # over a reference of next to nothing
        return DeltaM(None, "the reference is too small to be divided by")
    return DeltaM(value)
