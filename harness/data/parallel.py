"""Mapping a function over many scenes in several processes, whose death is noticed and laid to a scene."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection
from typing import Any, NoReturn, TypeVar

from harness.errors import DataError

_T = TypeVar("_T")
_Item = TypeVar("_Item")

_MOST_PROCESSES = 64
"""Decoding uses every usable core, but processes have to be fed by one."""
_MOST_LOADERS = 16
"""Processes that one process can take batches from without waiting for them."""
_WORTH_PROCESSES = 128
"""Fewer items than this are done sooner than processes start."""
_CHUNK = 4
"""Items sent at once, so that sending them costs little compared with decoding them."""
_AHEAD = 4
"""Chunks in flight per process: enough to keep all busy, few enough to bound the memory of results that wait."""


def no_result(item: Any) -> NoReturn:
    """Raise the error for an item at which a process died.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{item}: the process that worked on it died; its files may be damaged, or the memory is too small "
        f"(`harness data verify` names damaged files)"
    )


@contextmanager
def mapped(
    function: Callable[[_Item], _T], items: Sequence[_Item], died: Callable[[_Item], _T] = no_result
) -> Iterator[Iterator[_T]]:
    """Yield an iterator of ``function`` over ``items``, in order; long ones are shared by several processes.

    A process that dies (killed for its memory, or crashed in a decoder) ends nothing: what was in flight is done
    again, one item in one process, and the item that kills it once more is given to ``died``.

    Args:
        function: Picklable where processes are spawned.
        items: What to map over.
        died: Gives the result of an item whose process dies each time, or raises.
    """
    processes = min(_MOST_PROCESSES, usable_cores())
    if processes == 1 or len(items) < _WORTH_PROCESSES or not room_for_queues(processes):
        yield map(function, items)
        return
    # However the caller leaves the block, the generator is closed and its processes end.
    with contextlib.closing(_in_processes(function, items, died, processes)) as results:
        yield results


def room_for_queues(processes: int) -> bool:
    """Return whether the shared memory has room for the queues of processes; small containers have little or none."""
    try:
        reserved = [multiprocessing.Semaphore() for _ in range(4 * processes + 8)]
    except (OSError, ImportError):  # ImportError where the system has no semaphores
        return False
    del reserved
    return True


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loader_processes(given: Any) -> Any:
    """Return the number of loader processes that ``auto`` stands for, all usable cores but one; others as given."""
    return min(usable_cores() - 1, _MOST_LOADERS) if given == "auto" else given


def _in_processes(
    function: Callable[[_Item], _T], items: Sequence[_Item], died: Callable[[_Item], _T], processes: int
) -> Generator[_T, None, None]:
    chunks = [items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK)]
    waiting: deque[tuple[Sequence[_Item], Future[list[_T]]]] = deque()
    start = 0
    while start < len(chunks):
        with _executor(function, processes) as executor:
            try:
                for chunk in chunks[start:]:
                    waiting.append((chunk, executor.submit(_work, chunk)))
                    if len(waiting) >= _AHEAD * processes:
                        yield from waiting[0][1].result()
                        waiting.popleft()
                        start += 1
                while waiting:
                    yield from waiting[0][1].result()
                    waiting.popleft()
                    start += 1
            except BrokenProcessPool:
                # Nothing of the first chunk in flight was yielded yet; the next executor begins behind it.
                waiting.clear()
            else:
                return
        # The chunk at which a process died, again: one item in one process, so that the right one is named.
        for item in chunks[start]:
            with _executor(function, 1) as executor:
                try:
                    (result,) = executor.submit(_work, [item]).result()
                except BrokenProcessPool:
                    result = died(item)
            yield result
        start += 1


@contextmanager
def _executor(function: Callable[[Any], Any], processes: int) -> Iterator[ProcessPoolExecutor]:
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context(), initializer=partial(_start, function))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)  # waits for what is being done, a few scenes


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    """Prepare a process: its function, its signals, and its end when the parent ends."""
    global _function  # sent once per process, not once per item
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too and ends the processes
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):  # a forked process has the parent's handlers, which would save its state twice
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def follow() -> None:
            connection.wait([sentinel])  # a parent that was killed could not end this process
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _work(items: Sequence[Any]) -> list[Any]:
    return [_function(item) for item in items]
