"""Runs: the matrix of methods, data sets and seeds, and one cell of it."""

from harness.run.matrix import Outcome, run

__all__ = ["Outcome", "run"]
