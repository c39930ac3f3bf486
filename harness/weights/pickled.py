"""Pickled checkpoints: tensors, plain values, and substitutes that run nothing for harmless objects next to them."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Ignored:
    """Placeholder of an object next to the weights: takes whatever is pickled of it, and does nothing."""

    def __new__(cls, *_: object, **__: object) -> "Ignored":
        """Make one of any arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class Dictionary:
    """Placeholder of an object that is filled as a dictionary is."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """Make a dictionary of any arguments."""
        return OrderedDict()  # the one kind that torch fills as well as gives attributes


class DType:
    """A pickled NumPy type, as its code: ``f4``."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = str(code)
        self.order = "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        # (version, byte order, ...): what follows describes records and dates, which are no weights
        self.order = str(state[1])


class Array:
    """A pickled NumPy array: NumPy itself is not asked to rebuild what a file says."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def tensor(self) -> Tensor | None:
        """Return the array as a tensor; None where it holds other things than numbers."""
        try:
            _, shape, kind, columns_first, content = self._state
            if kind.code[:1] not in "fiub" or not isinstance(content, bytes):
                return None
            # (version, shape, type, order, bytes), as `ndarray.__reduce__` writes it;
            # "|" marks types of one byte, which have no order; arrays of columns are stored transposed
            flat = np.frombuffer(content, np.dtype(kind.code).newbyteorder(kind.order))
            array = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
        except (AttributeError, TypeError, ValueError):
            return None


def _plain_dict(*_: object) -> dict[Any, Any]:
    return {}


def _plain_list(*_: object) -> list[Any]:
    return []


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_BUILTINS = ("bool", "dict", "float", "frozenset", "int", "list", "range", "slice", "str", "tuple")
_OTHERS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "torch.torch_version.TorchVersion",
)

_DICTIONARIES = ("yacs.config.CfgNode", "pytorch_lightning.utilities.parsing.AttributeDict")
"""Settings that training scripts of the field keep next to the weights."""

HARMLESS: Mapping[str, Any] = {
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    # NumPy 1 and 2 name their modules differently
    **{f"numpy.{core}.multiarray._reconstruct": Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": Ignored for core in ("core", "_core")},
    "collections.defaultdict": _plain_dict,
    "collections.deque": _plain_list,
    **{f"builtins.{name}": Ignored for name in _BUILTINS},
    # Python 3.13 has paths in a module of their own
    **{f"{module}.{name}": Ignored for module in ("pathlib", "pathlib._local") for name in _PATHS},
    **{f"datetime.{name}": Ignored for name in ("date", "datetime", "time", "timedelta", "timezone")},
    **dict.fromkeys(_OTHERS, Ignored),
    **dict.fromkeys(_DICTIONARIES, Dictionary),
}
"""Substitutes by the names of what they stand for, which itself is never called."""


def load(path: Path, substitutes: Mapping[str, Any] = HARMLESS, device: str = "cpu") -> Any:
    """Unpickle tensors, plain values, and objects that have a substitute.

    Raises:
        Exception: of many kinds where the file is damaged or holds other objects. What torch says of them advises to
            unpickle all the same: it is not for a user's eyes.
    """
    allowed: list[Any] = [(substitute, name) for name, substitute in substitutes.items()]
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings(action="ignore"):
        return torch.load(path, map_location=device, weights_only=True)
