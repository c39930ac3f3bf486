"""State dicts in files: read without running anything that a file brings."""

import argparse
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import UsageError

State = dict[str, Tensor]

_WRAPPERS = ("model", "state_dict")
_PARALLEL = "module."
_scalar: Any = np.float64(0).__reduce__()[0]
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
    (_scalar, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
    (_scalar, "numpy._core.multiarray.scalar"),
]
"""What may be unpickled beside tensors and plain values: none of it runs code of the file."""


@dataclass(frozen=True)
class Adapted:
    """Weights under the keys of a network.

    Attributes:
        state: The weights.
        notes: What was left out or made up, one clause each.
    """

    state: State
    notes: tuple[str, ...] = ()


def read_state(path: Path) -> Adapted:
    """Return the weights in a file, as they are named in it.

    Reads safetensors and torch checkpoints: plain, under ``model`` or ``state_dict``, with or without the prefix
    ``module.``. Nothing but tensors, plain values, NumPy's numbers and `argparse.Namespace` is unpickled: training
    scripts store their best figures and their arguments so, beside the weights.

    Raises:
        UsageError: the file is damaged, of another format, or holds pickled objects or no weights.
    """
    content = _read(path)
    notes: tuple[str, ...] = ()
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            beside = sorted(str(key) for key in content if key != wrapper)
            notes = (f"ignored beside {wrapper}: {', '.join(beside)}",) if beside else ()
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"weights {path}: no state dict, neither at the top nor under {' or '.join(_WRAPPERS)}")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UsageError(f"weights {path}: no state dict, {key!r} is no name of a weight")
        if not isinstance(value, Tensor):
            raise UsageError(f"weights {path}: no state dict, {key!r} is of type {type(value).__name__}")
    if all(key.startswith(_PARALLEL) for key in content):
        content = {key.removeprefix(_PARALLEL): value for key, value in content.items()}
    return Adapted(dict(content), notes)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises errors of many kinds, most of them advising to unpickle all the same
        pickled = re.search(r"GLOBAL (\S+)", str(error))
        if pickled:
            reason = f"it holds a pickled {pickled[1]}, and only tensors and plain values are unpickled"
        else:
            reason = f"damaged, or neither safetensors nor a torch checkpoint ({type(error).__name__})"
        raise UsageError(f"weights {path} cannot be read: {reason}") from error
