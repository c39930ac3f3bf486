"""The project's own count of multiply-accumulates: what is executed, where it is executed."""

from harness.counting.counter import MacCount, MacCounter, MacReport, count_macs
from harness.counting.operators import may_multiply
from harness.counting.parts import attributed_to

__all__ = ["MacCount", "MacCounter", "MacReport", "attributed_to", "count_macs", "may_multiply"]
