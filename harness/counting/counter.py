"""Counts multiply-accumulates as torch dispatches them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import nn


@dataclass(frozen=True)
class MacCount:
    """What one call executed.

    Attributes:
        macs: Multiply-accumulates of matrix products, convolutions and attention.
        per_part: The same by part; ``other`` is what no part did. Sums to ``macs``.
        elementwise_outputs: Values written by all other arithmetic.
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


def count_macs(call: Callable[[], object], parts: Mapping[str, nn.Module] = MappingProxyType({})) -> MacCount:
    """Run ``call`` and count what it executes.

    Args:
        call: A forward pass.
        parts: Modules to attribute MACs to, by name; calls of other code name theirs with `attributed_to`.
    """
    raise NotImplementedError


@contextmanager
def attributed_to(part: str) -> Iterator[None]:
    """Attribute the MACs of the block to ``part``; costs next to nothing when nobody counts."""
    yield
