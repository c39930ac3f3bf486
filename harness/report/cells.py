"""Figures as text."""

from collections.abc import Callable, Sequence
from statistics import mean, stdev

from harness.records import Record

DASH = "–"
"""Stands where there is no figure."""


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return values as mean ± sample deviation; one value, or equal ones, alone; none as a dash."""
    if not values:
        return DASH
    if len(values) == 1 or stdev(values) == 0:
        return show(mean(values))
    return f"{show(mean(values))} ± {show(stdev(values)).lstrip('+')}"


def size(record: Record) -> str:
    """Return the input size as height x width, or a dash where a source does not say."""
    return "{}x{}".format(*record.input_size) if record.input_size else DASH
