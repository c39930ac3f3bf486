"""The compiler of the pixel loops."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile a function over arrays to machine code on its first call.

    The code is kept beside the source, else in the user's cache folder (or ``NUMBA_CACHE_DIR``). Where
    none of them can be written, every process compiles anew.
    """
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba found no folder it may write to
        return cast(F, njit(nogil=True)(function))
