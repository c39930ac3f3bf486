"""The regression gate: what changed between two sets of records, and whether it got worse."""

from harness.compare.gate import compare, compare_pair, with_streams
from harness.compare.load import load
from harness.compare.result import Comparison, Figure, Row
from harness.compare.streams import stream_rows
from harness.compare.tolerance import Tolerances
from harness.records.load import Stored

__all__ = [
    "Comparison",
    "Figure",
    "Row",
    "Stored",
    "Tolerances",
    "compare",
    "compare_pair",
    "load",
    "stream_rows",
    "with_streams",
]
