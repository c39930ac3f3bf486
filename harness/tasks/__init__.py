"""Dense prediction tasks: loss, meter, decoding and pictures of each."""

import importlib
from typing import TYPE_CHECKING, Any

from harness.tasks.facts import TASK_FACTS

if TYPE_CHECKING:  # imported when they are first used: names and titles are printed without torch
    from harness.tasks.catalog import TASKS, build_task, register

__all__ = ["TASKS", "TASK_FACTS", "build_task", "register"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("harness.tasks.catalog"), name)
