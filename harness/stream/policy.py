"""Policy of a stream: what is computed again on each frame, and when everything is."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.errors import UsageError, first_fault

Mode = Literal["auto", "gated", "per-frame", "copy"]
Select = Literal["top-k", "threshold", "budgeted"]
Start = Literal["dense", "base", "base-always"]
Heads = Literal["auto", "dense", "gated"]


class StreamPolicy(BaseModel):
    """Settings of a stream; each one is an option of the command line, too.

    Example:
        >>> StreamPolicy(rows=0.1).select
        'top-k'
        >>> StreamPolicy(keyframes="period:8").period
        8
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field(
        default="auto",
        description="auto: the method's own; gated: active tokens alone; per-frame: every frame by itself; copy: every "
        "n-th frame is computed and repeated in between.",
    )
    copy_every: int = Field(default=2, ge=1, description="Frames per computed one in mode copy.")
    keyframes: str = Field(
        default="adaptive",
        description="Full passes after the first: first (none), period:K, period:K:stagger (networks take turns), or "
        "adaptive: at scene cuts and by age.",
    )
    select: Select = Field(
        default="threshold",
        description="Active tokens: a fixed fraction (top-k), those whose change exceeds a threshold, or these up to a "
        "cap (budgeted). A fraction given alone means top-k.",
    )
    rows: float = Field(default=0.1, ge=0, le=1, description="Fraction of active tokens under top-k.")
    threshold: float = Field(
        default=0.1, ge=0, description="Root mean square change of a normed token from which on it is active."
    )
    cap: float = Field(default=0.6, gt=0, le=1, description="Largest fraction of active tokens under budgeted.")
    dense_above: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Under threshold: a block with a larger fraction of active tokens runs densely.",
    )
    roll: int | None = Field(
        default=None, ge=1, description="Every token is active once in so many frames, whatever it changes by."
    )
    cut_layer: int = Field(
        default=0, ge=0, description="First blocks of sub-tasks that refer to the base of this frame (l* of the paper)."
    )
    rows_of: Literal["own", "base"] = Field(
        default="own", description="Active tokens of sub-tasks: by their own gates, or the base's."
    )
    queries: Literal["active", "all"] = Field(
        default="active", description="Attention of active tokens alone, or of all tokens."
    )
    start: Start = Field(
        default="dense",
        description="Full passes of sub-tasks: dense; base: at the first frame and at cuts by the image method from "
        "the base; base-always: at every keyframe, as in the paper.",
    )
    heads: Heads = Field(
        default="auto",
        description="Heads: dense, gated, or gated while few tokens are active in the last block (auto).",
    )
    head_rows: float = Field(default=0.3, ge=0, le=1, description="Fraction of active rows of gated heads under top-k.")
    head_threshold: float = Field(
        default=0.1, ge=0, description="Change from which on a row of a gated head is active, as for tokens."
    )
    head_below: float = Field(
        default=0.15, ge=0, le=1, description="Under auto: heads are gated below this fraction in the last block."
    )
    loop: Literal["closed", "open"] = Field(
        default="closed",
        description="References: the inputs that results were computed from, or (for comparison) the last frame's.",
    )
    cut: float = Field(default=0.7, gt=0, description="Relative change of the embedding that is a scene cut.")
    max_age: int = Field(default=300, ge=1, description="Frames after which an adaptive stream is computed in full.")
    max_age_s: float = Field(default=10.0, gt=0, description="Seconds after which it is.")
    max_gap: float = Field(default=1.0, gt=0, description="Seconds between frames from which on a stream restarts.")
    strict: bool = Field(
        default=False, description="Refuse a frame of another size, and weights that changed, instead of restarting."
    )
    buckets: bool | None = Field(
        default=None,
        description="Choose one fraction of active tokens a frame out of 1/16, 1/8, 1/4, 1/2 and 1, so that the host "
        "waits for the device once; null: on a GPU under threshold and budgeted.",
    )

    @model_validator(mode="before")
    @classmethod
    def _rows_alone_mean_top_k(cls, values: Any) -> Any:
        if isinstance(values, dict) and "rows" in values and not {"select", "threshold", "cap"} & values.keys():
            return {**values, "select": "top-k"}
        return values

    @field_validator("keyframes")
    @classmethod
    def _known_keyframes(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        count, _, stagger = rest.partition(":")
        periodic = kind == "period" and count.isdecimal() and int(count) > 0 and stagger in ("", "stagger")
        if value not in ("first", "adaptive") and not periodic:
            raise ValueError("must be first, adaptive, period:K or period:K:stagger, for example period:8")
        return value

    @property
    def period(self) -> int | None:
        """Frames between two full passes; None where they are not periodic."""
        return int(self.keyframes.split(":")[1]) if self.keyframes.startswith("period") else None

    @property
    def staggered(self) -> bool:
        """Whether the networks of a model take turns with their full passes."""
        return self.keyframes.endswith(":stagger")

    @classmethod
    def read(cls, values: dict[str, Any], source: str) -> "StreamPolicy":
        """Return the policy of some settings.

        Args:
            values: Field to value.
            source: Where they come from, for messages.

        Raises:
            UsageError: a field or a value is none.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{source}{first_fault(error)}") from error
