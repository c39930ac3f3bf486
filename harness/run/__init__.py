"""Runs: the matrix of methods, data sets and seeds, and one cell of it."""

from harness.measurement import Outcome
from harness.run.matrix import run

__all__ = ["Outcome", "run"]
