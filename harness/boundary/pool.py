"""Counting boundary maps in worker processes while a model predicts."""

import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.boundary.counting import Counts, count_image
from harness.boundary.rule import BoundaryRule
from harness.errors import HarnessError, MethodError, UsageError

_BACKLOG_PER_PROCESS = 4

# The worker imports from where its parent does. Ctrl-C reaches both; the parent decides what becomes of it.
_START = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = pickle.load(sys.stdin.buffer)
from harness.boundary.pool import serve
serve()
"""


class _Worker:
    """One worker process. It ends with its input, so none outlives its parent."""

    def __init__(self, rule: BoundaryRule) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads},
        )
        self._send(sys.path)
        self._send(rule)

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def count(self, probability: NDArray[Any], gt: NDArray[np.bool_]) -> Counts:
        """Return what `count_image` returns or raise what it raises."""
        assert self._process.stdout is not None
        try:
            self._send((probability, gt))
            reply = pickle.load(self._process.stdout)  # noqa: S301 - written by our own worker
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise MethodError(
                f"a boundary worker process died (exit code {code}), most often for want of memory; free some or use "
                "fewer cores, and repeat the command: it goes on where it stopped"
            ) from error
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Counts)
        return reply

    def kill(self) -> None:
        """End the process now; a thread that waits for it gets an error."""
        self._process.kill()

    def close(self) -> None:
        """End the process by ending its input. No thread may be waiting for it."""
        self._process.communicate()


class BoundaryPool:
    """Counts boundary maps in worker processes, in the background and with one thread each.

    The processes are plain interpreters that import only this package: no fork, no torch, and no guard needed
    around the caller's main module. Use it as a context manager; leaving it by an exception or Ctrl-C
    ends the processes at once.

    Args:
        rule: The conventions.
        processes: Number of worker processes; when None, all cores this process may use, divided by the processes
            that a launcher started on this machine.

    Raises:
        UsageError: ``processes`` is below 1.
    """

    def __init__(self, rule: BoundaryRule, processes: int | None = None) -> None:
        processes = _fair_cores() if processes is None else processes
        if processes < 1:
            raise UsageError(f"boundary: the number of processes is at least 1, not {processes}")
        self._workers = [_Worker(rule) for _ in range(processes)]
        self._idle = deque(self._workers)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="boundary")
        self._room = threading.Semaphore(processes * (1 + _BACKLOG_PER_PROCESS))
        self._pending: deque[tuple[str, Future[Counts]]] = deque()

    def submit(self, image_id: str, probability: NDArray[Any], gt: NDArray[np.bool_]) -> None:
        """Queue one image; waits only while the queue is full.

        Args:
            image_id: Returned with the counts.
            probability: As for `count_image`; not to be changed afterwards.
            gt: As for `count_image`; not to be changed afterwards.
        """
        self._room.acquire()
        future = self._threads.submit(self._count, probability, gt)
        future.add_done_callback(lambda _: self._room.release())
        self._pending.append((image_id, future))

    def _count(self, probability: NDArray[Any], gt: NDArray[np.bool_]) -> Counts:
        worker = self._idle.pop()  # as many threads as workers, so one is idle
        try:
            return worker.count(probability, gt)
        finally:
            self._idle.append(worker)

    def results(self) -> Iterator[tuple[str, Counts]]:
        """Yield (image id, counts) of all images submitted so far, in that order, each once.

        Raises:
            HarnessError: an image could not be counted; the message names it.
        """
        while self._pending:
            image_id, future = self._pending.popleft()
            try:
                counts = future.result()
            except HarnessError as error:
                raise type(error)(f"{image_id}: {error}") from error
            yield image_id, counts

    def close(self) -> None:
        """Wait for the queued images and end the processes."""
        try:
            self._threads.shutdown()
        except KeyboardInterrupt:
            self.abort()
            raise
        for worker in self._workers:
            worker.close()

    def abort(self) -> None:
        """End the processes at once and drop what they have not counted."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _fair_cores() -> int:
    """Return the number of cores this process may run on, less those of its siblings; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    siblings = os.environ.get("LOCAL_WORLD_SIZE", "1")  # torchrun and accelerate set it
    return max(1, cores // max(1, int(siblings))) if siblings.isdigit() else cores


def serve() -> None:
    """Count images in a worker process until its input ends.

    It reads pickles from its standard input: the rule, then a pair (probability, gt) for every image. It answers each
    image with its counts or with the exception it raised.
    """
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not corrupt the replies
    rule = pickle.load(requests)  # noqa: S301 - written by our own parent process
    while True:
        try:
            probability, gt = pickle.load(requests)  # noqa: S301
        except EOFError:
            return
        try:
            reply: object = count_image(probability, gt, rule)
        except Exception as error:
            error.add_note(f"In a boundary worker process:\n{traceback.format_exc()}")
            reply = error
        pickle.dump(reply, replies)
        replies.flush()
