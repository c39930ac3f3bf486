"""Runs: the matrix of methods, data sets and seeds, and one cell of it.

The package can be called like the function `run`, so that ``from harness import run`` gives the same whether or not one
of its modules was imported before.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported when they are first used: states of runs are listed without torch
    from harness.config import RunConfig
    from harness.measurement import Outcome
    from harness.run.matrix import run

__all__ = ["Outcome", "run"]


class _Callable(ModuleType):
    def __call__(self, config: "RunConfig") -> "Outcome":
        """Run every cell of a matrix; see `harness.run.matrix.run`."""
        outcome: Outcome = self.run(config)
        return outcome


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "harness.run.matrix" if name == "run" else "harness.measurement"
    return getattr(importlib.import_module(place), name)


sys.modules[__name__].__class__ = _Callable
