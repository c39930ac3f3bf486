"""Parameters and bytes on disk."""

from pydantic import Field

from harness.costs.base import Cost


class Parameters(Cost):
    """Parameter counts of the whole model."""

    total: int
    per_part: dict[str, int]


class Storage(Cost):
    """Bytes of the saved artifact."""

    artifact_bytes: int
    per_file: dict[str, int]
    per_part: dict[str, int] = Field(
        default={}, description="Bytes by part of the model; `other` is what belongs to none. Sums to the artifact."
    )
    marginal_bytes: dict[str, int] = Field(
        default={}, description="Task to the bytes it adds to an artifact that serves all the others."
    )
    zipped_bytes: int | None = Field(
        default=None, description="Bytes of the artifact as one deflated archive; padding and zeros vanish in it."
    )
