"""Runs: the matrix of methods, data sets and seeds, and one cell of it.

The package can be called like the function `run`, so that ``from harness import run`` gives the same whether or not one
of its modules was imported before.
"""

import sys
from types import ModuleType

from harness.config import RunConfig
from harness.measurement import Outcome
from harness.run.matrix import run

__all__ = ["Outcome", "run"]


class _Callable(ModuleType):
    def __call__(self, config: RunConfig) -> Outcome:
        """Run every cell of a matrix; see `harness.run.matrix.run`."""
        return run(config)


sys.modules[__name__].__class__ = _Callable
