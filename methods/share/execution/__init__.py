"""Executions of a transformer block, one a file, and the traces they compare with."""

from harness.methods.share.execution.clamped import Clamped
from harness.methods.share.execution.dense import Dense
from harness.methods.share.execution.gated import Observer, TokenGate, TokenGated, Tokens
from harness.methods.share.execution.stack import Stack, StackedWeights
from harness.methods.share.execution.tokens import TokenWalk, nested_counts
from harness.methods.share.execution.trace import Activations, Hidden, Keep, Reference

__all__ = [
    "Activations",
    "Clamped",
    "Dense",
    "Hidden",
    "Keep",
    "Observer",
    "Reference",
    "Stack",
    "StackedWeights",
    "TokenGate",
    "TokenGated",
    "TokenWalk",
    "Tokens",
    "nested_counts",
]
