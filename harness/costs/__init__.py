"""What a method costs, as the records store it: one value object per probe, units in the names.

A figure that could not be had is null and its reason stands beside it; it is never a stand-in zero.
"""

from harness.costs.base import Spread
from harness.costs.hardware import Ceilings, Conditions
from harness.costs.latency import EndToEnd, Energy, Floor, Latency, PairedRatio, Sampling
from harness.costs.macs import CounterFigure, Macs
from harness.costs.memory import Memory, Peak, Resident
from harness.costs.size import Parameters, Storage
from harness.costs.sparsity import Sparsity

__all__ = [
    "Ceilings",
    "Conditions",
    "CounterFigure",
    "EndToEnd",
    "Energy",
    "Floor",
    "Latency",
    "Macs",
    "Memory",
    "PairedRatio",
    "Parameters",
    "Peak",
    "Resident",
    "Sampling",
    "Sparsity",
    "Spread",
    "Storage",
]
