"""Benchmark and evaluation harness for multi-task efficiency in dense visual scene understanding.

The names of the Python API (`run`, `RunConfig`, `load`, `evaluate`) are imported when they are first used: importing
the package alone stays quick.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["RunConfig", "__version__", "evaluate", "load", "run"]

try:
    __version__ = version("mtl-harness")
except PackageNotFoundError:  # a bare clone, never installed
    __version__ = "0+unknown"

# In a source checkout methods/, baselines/ and datasets/ lie beside this folder, not inside it.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "baselines").is_dir():
    __path__.append(str(_root))

_API = {"RunConfig": "harness.config", "evaluate": "harness.run.api", "load": "harness.run.api"}


def __getattr__(name: str) -> Any:
    if name == "run":
        return importlib.import_module("harness.run")  # which can be called
    if name in _API:
        return getattr(importlib.import_module(_API[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
