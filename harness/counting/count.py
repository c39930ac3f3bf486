"""Results of a count."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class MacCount:
    """MACs of one call.

    Attributes:
        macs: Multiply-accumulates of matrix products, convolutions and attention.
        per_part: The same by part; ``other`` is what no part did, absent where that is nothing. Sums to ``macs``.
        elementwise_outputs: Values written by all other arithmetic, as `harness.counting.operators` tells it from mere
            moves. What a fused kernel keeps to itself, such as the softmax of attention, is never written.
        unseen: Operators that may multiply but have no rule here, with their calls.
    """

    macs: int
    per_part: dict[str, int] = field(default_factory=dict)
    elementwise_outputs: int = 0
    unseen: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MacReport:
    """MACs of one forward pass of all tasks.

    Attributes:
        executed: What the kernels multiplied.
        dense: What they would have multiplied with nothing skipped.
        ideal: Non-zero multiplies alone; None where nothing is sparse.
        simulated: By the sharing paper's output thresholds, which skip nothing; None elsewhere.
    """

    executed: MacCount
    dense: int
    ideal: int | None = None
    simulated: int | None = None
