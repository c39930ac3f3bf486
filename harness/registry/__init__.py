"""Plug-ins by name: entry points of installed packages, those of this project, and files given with ``--plugin``."""

import importlib
from typing import TYPE_CHECKING, Any

from harness.registry.attributes import described
from harness.registry.known import Kind, built_in, names

if TYPE_CHECKING:  # imported when they are first used: names are listed without torch
    from harness.registry.load import load_dataset, load_method, load_plugin
    from harness.registry.source import source_digest

__all__ = [
    "Kind",
    "built_in",
    "described",
    "load_dataset",
    "load_method",
    "load_plugin",
    "names",
    "source_digest",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "source" if name == "source_digest" else "load"
    return getattr(importlib.import_module(f"harness.registry.{place}"), name)
