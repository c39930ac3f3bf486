"""Benchmark and evaluation harness for multi-task efficiency in dense visual scene understanding."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("mtl-harness")
except PackageNotFoundError:  # a bare clone, never installed
    __version__ = "0+unknown"

# In a source checkout methods/, baselines/ and datasets/ lie beside this folder, not inside it.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "baselines").is_dir():
    __path__.append(str(_root))
