"""Memory of a model at work."""

from pydantic import Field

from harness.costs.base import Cost


class Peak(Cost):
    """Highest GPU memory of a window, as torch's allocator tells it."""

    allocated_bytes: int
    reserved_bytes: int


class Resident(Cost):
    """Resident set of the process while the CPU works."""

    before_bytes: int
    peak_bytes: int


class Memory(Cost):
    """Memory of a model at work, at one batch size."""

    parameter_bytes: int
    buffer_bytes: int
    batch_size: int
    inference: Peak | None = None
    training_step: Peak | None = Field(default=None, description="Forward, backward and an AdamW step.")
    resident: Resident | None = None
    reasons: dict[str, str] = Field(default={}, description="Field to why it is null.")
