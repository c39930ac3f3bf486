"""A measured accuracy figure with its unit, direction and protocol."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Literal["fraction", "m", "log m", "deg", "ratio"]


class Metric(BaseModel):
    """One accuracy figure, unrounded.

    A figure that could not be had is null with a reason; it is never NaN and never a stand-in zero.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float | None = Field(description="The figure in `unit`; null when it could not be had.")
    unit: Unit
    higher_is_better: bool
    n: int | None = Field(
        ge=0,
        description="Pixels the figure was pooled over; images where `protocol` says so; null where unknown.",
    )
    protocol: str = Field(description="Id of the metric's convention, for example `depth.rmse@pixel`.")
    reason: str | None = Field(default=None, description="Why `value` is null.")

    @model_validator(mode="after")
    def _null_has_a_reason(self) -> Self:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.protocol}: a metric is finite or null, not {self.value}")
        if (self.value is None) != (self.reason is not None):
            raise ValueError(f"{self.protocol}: exactly one of value and reason must be given")
        return self

    @classmethod
    def of(cls, value: float, *, unit: Unit, higher_is_better: bool, n: int, protocol: str) -> "Metric":
        """Return the metric of a computed value; a value that is not finite becomes null with the reason."""
        if math.isfinite(value):
            return cls(value=value, unit=unit, higher_is_better=higher_is_better, n=n, protocol=protocol)
        reason = "no valid pixel" if n == 0 else f"the computed value is {value}"
        return cls(value=None, unit=unit, higher_is_better=higher_is_better, n=n, protocol=protocol, reason=reason)
