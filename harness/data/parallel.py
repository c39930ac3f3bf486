"""Mapping a function over many scenes, in this process or in two."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

_T = TypeVar("_T")
_Item = TypeVar("_Item")

_PROCESSES = 2
_WORTH_PROCESSES = 128
"""Fewer items than this are done sooner than a process pool pays for itself."""


@contextmanager
def mapped(function: Callable[[_Item], _T], items: Sequence[_Item]) -> Iterator[Iterator[_T]]:
    """Yield an iterator of ``function`` over ``items``, in order; long ones are shared by two processes.

    Args:
        function: Picklable where processes are spawned.
        items: What to map over.
    """
    processes = min(_PROCESSES, os.cpu_count() or 1)
    if processes == 1 or len(items) < _WORTH_PROCESSES:
        yield map(function, items)
        return
    with multiprocessing.get_context().Pool(processes, _start, (function,)) as pool:
        yield pool.imap(_work, items, chunksize=4)


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    global _function  # sent once per process, not once per item
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too and ends the pool


def _work(item: Any) -> Any:
    return _function(item)
