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
    some of the tasks would be another figure, so one missing task makes the gain null.

    Args:
        measured: Task name to its headline figure.
        reference: Task name to the figure of the single-task model on the same backbone; may hold more tasks.
    """
    if not measured:
        return DeltaM(None, "no task")
    gains = []
    for task, figure in measured.items():
        base = reference.get(task)
        if figure.value is None:
            return DeltaM(None, f"{task}: {figure.reason}")
        if base is None:
            return DeltaM(None, f"{task}: the reference has no such task")
        if base.value is None:
            return DeltaM(None, f"{task}: the reference has no figure: {base.reason}")
        if base.value == 0:
            return DeltaM(None, f"{task}: the reference figure is 0")
        if base.unit != figure.unit:
            return DeltaM(None, f"{task}: the reference is in {base.unit}, the figure in {figure.unit}")
        gain = (figure.value - base.value) / base.value
        gains.append(gain if figure.higher_is_better else -gain)
    value = 100 * sum(gains) / len(gains)
    if abs(value) > LARGEST:  # over a reference of next to nothing
        return DeltaM(None, "the reference is too small to be divided by")
    return DeltaM(value)
