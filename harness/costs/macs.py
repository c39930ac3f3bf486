"""Multiply-accumulates of one image. FLOPs are always twice the MACs and are never stored."""

from typing import Literal

from pydantic import Field

from harness.costs.base import Cost, Spread


class CounterFigure(Cost):
    """What one library counts on the same forward pass of all tasks, batch size 1."""

    counter: Literal["fvcore", "ptflops", "torch"]
    version: str
    convention: str = Field(description="What the counter counts, and the corrections that were applied to it.")
    macs: int | None = Field(description="Null when the counter failed.")
    unseen: dict[str, int] = Field(default={}, description="Operators it has no rule for, with their calls.")
    reason: str | None = Field(default=None, description="Why `macs` is null.")


class Macs(Cost):
    """MACs of matrix products, convolutions and attention per image, at batch size 1, counted where they happen.

    Attention is its two matrix products. Everything element-wise (norms, activations, softmax, interpolation,
    additions) is kept apart in `elementwise_outputs`.
    """

    dense: Spread = Field(description="With nothing skipped.")
    ideal: Spread | None = Field(default=None, description="Non-zero multiplies alone; null where nothing is sparse.")
    executed: Spread = Field(description="What the kernels really multiplied.")
    simulated: Spread | None = Field(
        default=None,
        description="By the sharing paper's output thresholds; not executable, since outputs are clamped after they "
        "are paid for. Null for other methods.",
    )
    per_part: dict[str, float] = Field(description="Executed MACs by part of the model, mean; `other` is the rest.")
    per_task: dict[str, float] = Field(description="Executed MACs when this task alone is asked for, mean.")
    unseen: dict[str, int] = Field(
        default={},
        description="Operators that may multiply and have no rule, with their calls.",
    )
    elementwise_outputs: float = Field(description="Values written by all other arithmetic, mean.")
    counters: list[CounterFigure] = Field(default=[], description="Independent counts of the same forward pass.")
