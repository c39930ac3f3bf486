"""Values of records: bounds of numbers and names, and the accuracy metric with its unit, direction and protocol."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Literal["fraction", "m", "log m", "deg", "ratio"]

LARGEST = 1e100
"""Bound of every real number in a record: far above anything measured, and its square is still finite."""

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Bytes, pixels, MACs or steps; within 64 bits, as NumPy and JSON readers of other languages hold them."""
Positive = Annotated[int, Field(ge=1, le=2**63 - 1)]
Amount = Annotated[float, Field(ge=0, le=LARGEST)]
"""A time, rate or mean count; never negative."""
Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Ratio = Annotated[float, Field(gt=0, le=LARGEST)]

_RANGES: Mapping[Unit, tuple[float, float]] = {"fraction": (0.0, 1.0), "deg": (0.0, 180.0)}
"""Least and largest value of a metric; of other units 0 and `LARGEST`."""
_ROUNDING = 1e-9
"""Room beyond a range: a mean of ones that was summed in floating point may be a little more than 1."""


class Part(BaseModel):
    """Base of everything in a record: no unknown fields, no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Metric(Part):
    """One accuracy metric, unrounded.

    A value that could not be had is null with a reason; it is never NaN and never a zero in its place.

    Example:
        >>> Metric.of(0.4537, unit="fraction", higher_is_better=True, n=1000, protocol="semseg.miou@zero").value
        0.4537
        >>> Metric.of(float("nan"), unit="m", higher_is_better=False, n=0, protocol="depth.rmse@pixel").reason
        'no valid pixel'
    """

    model_config = ConfigDict(frozen=True)

    value: float | None = Field(description="The value in `unit`; null when it could not be had.")
    unit: Unit
    higher_is_better: bool
    n: Count | None = Field(
        description="Pixels the value was pooled over; images where `protocol` says so; null where unknown.",
    )
    protocol: Name = Field(description="Id of the metric's convention, for example `depth.rmse@pixel`.")
    reason: str | None = Field(default=None, description="Why `value` is null.")

    @model_validator(mode="after")
    def _null_has_a_reason(self) -> Self:
        if (self.value is None) != (self.reason is not None):
            raise ValueError(f"{self.protocol}: exactly one of value and reason must be given")
        if self.value is not None and (fault := _fault(self.value, self.unit)):
            raise ValueError(f"{self.protocol}: {fault}")
        return self

    @classmethod
    def of(cls, value: float, *, unit: Unit, higher_is_better: bool, n: int, protocol: str) -> "Metric":
        """Return the metric of a computed value; one that is not finite or not possible becomes null with the reason.

        Args:
            value: The metric in ``unit``.
            unit: Its unit; a ``fraction`` lies in 0..1.
            higher_is_better: Its direction.
            n: Pixels or images it was pooled over.
            protocol: Id of its convention, such as ``depth.rmse@pixel``.
        """
        reason = None
        if not math.isfinite(value):
            reason = "no valid pixel" if n == 0 else f"the computed value is {value}"
        elif fault := _fault(value, unit):
            reason = f"the computed value is impossible: {fault}"
        return cls(
            value=value if reason is None else None,
            unit=unit,
            higher_is_better=higher_is_better,
            n=n,
            protocol=protocol,
            reason=reason,
        )


def _fault(value: float, unit: Unit) -> str | None:
    """Return why no metric of a unit has a value; None where one may have it."""
    least, largest = _RANGES.get(unit, (0.0, LARGEST))
    if least <= value <= largest + _ROUNDING:
        return None
    return f"{value:g} is no value in {unit}, which lies between {least:g} and {largest:g}"
