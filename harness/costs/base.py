"""What the cost objects share."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Cost(BaseModel):
    """Base of the cost objects."""

    model_config = ConfigDict(extra="forbid")


class Spread(Cost):
    """A quantity over the images it was measured on."""

    mean: float
    p50: float
    p95: float
    n: int = Field(ge=1, description="Images.")

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        p50, p95 = np.percentile(values, (50, 95))
        return cls(mean=float(np.mean(values)), p50=float(p50), p95=float(p95), n=len(values))
