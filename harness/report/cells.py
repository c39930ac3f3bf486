"""Figures as text."""

from collections.abc import Callable, Sequence
from statistics import mean, stdev

DASH = "–"
"""Stands where there is no figure."""


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return values as mean ± sample deviation; one value, or equal ones, alone; none as a dash."""
    if not values:
        return DASH
    if len(values) == 1 or stdev(values) == 0:
        return show(mean(values))
    return f"{show(mean(values))} ± {show(stdev(values)).lstrip('+')}"
