"""The project's own count of multiply-accumulates: what is executed, where it is executed."""

from harness.counting.counter import MacCount, MacReport, attributed_to, count_macs

__all__ = ["MacCount", "MacReport", "attributed_to", "count_macs"]
