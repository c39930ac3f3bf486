"""How much of a network one task needs for itself."""

from pydantic import Field

from harness.costs.base import Cost


class Sparsity(Cost):
    """What a task has of its own where methods share weights and computation between tasks; 1 is a whole encoder."""

    weight_density: float = Field(ge=0, le=1, description="Weights kept for it, as a share of the encoder's.")
    active_rows: float = Field(
        ge=0, le=1, description="Rows of tokens computed for it, as a share of all, mean over blocks and images."
    )
