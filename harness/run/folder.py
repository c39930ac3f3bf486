"""The folder of a run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import UsageError

ARTIFACT = "artifact"
"""Name of the model's folder in it."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a run's folder.

    Raises:
        UsageError: one is at it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"{folder}: another process is running this; wait for it, or choose another -o") from error
    try:
        yield
    finally:
        lock.release()
