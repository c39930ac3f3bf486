"""Compiler of the pixel loops, and the folder of what it compiled."""

import contextlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numba
from numba.core import config

from harness.errors import UsageError
from harness.files import cache_home

F = TypeVar("F", bound=Callable[..., object])

_CODE = "*.nbc"
"""Machine code; `*.nbi` is the index of what there is."""

_END = b"."
"""Last byte of a whole pickle."""


def kernel(function: F) -> F:
    """Compile a function over arrays to machine code on its first call.

    The code is kept below ``HARNESS_CACHE`` (or in ``NUMBA_CACHE_DIR``). Where that cannot be written, numba tries the
    folder of the source, and else every process compiles again.
    """
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba found no folder it may write to
        return cast(F, numba.njit(nogil=True)(function))


def prepare_cache() -> None:
    """Set the folder of compiled code, readable by this user alone: who can write there decides what runs here.

    Files that a power loss or a full disk left damaged are removed, for numba would fail on them at every call.
    """
    with contextlib.suppress(OSError, UsageError):
        if "NUMBA_CACHE_DIR" not in os.environ:
            folder = cache_home() / "numba"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            vars(config)["CACHE_DIR"] = str(folder)  # numba makes its settings at run time
        for path in Path(vars(config)["CACHE_DIR"]).rglob("*.nb[ic]"):
            if _is_damaged(path):
                path.unlink(missing_ok=True)


def _is_damaged(path: Path) -> bool:
    """Return whether numba would fail on a file: an index is two pickles, code is one, too large to be read."""
    content = path.read_bytes()
    if path.match(_CODE) or not content.endswith(_END):
        return not content.endswith(_END)
    stream = io.BytesIO(content)
    try:
        pickle.load(stream)  # noqa: S301 - the version; written by this user's numba
        pickle.load(stream)  # noqa: S301 - the stamp of the source, and what there is
    except Exception:
        return True
    return False


prepare_cache()
