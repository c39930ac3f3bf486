"""Files: digests, atomic writes, locks, and the faults of disks in one line."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError, UsageError

_DISK = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EFBIG: "the file would be too large for the disk",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "is a folder",
}
"""Errors of the place that is written to, which no method is to blame for, in words."""

_DISK_TEXTS = ("No space left on device", "os error 28", "PytorchStreamWriter failed", "Disk quota exceeded")
"""Texts by which torch and safetensors report such errors without their number."""


_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""Errors of file systems without locks."""

LEASE_SECONDS = 120.0
"""Age at which the heartbeat of another process counts as stopped; the same in all processes of a folder."""


def digest(content: object) -> str:
    """Return the sha256 of a JSON-like object, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes.

    Raises:
        UsageError: it is no regular file, or cannot be read.
    """
    try:
        if not path.is_file():  # a pipe would block for ever
            raise UsageError(f"{path}: no such file" if not path.exists() else f"{path}: no regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def file_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes of every file of a folder by its path below it, in order of path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file, text as UTF-8; a reader sees the old file or the new one, never a part.

    Args:
        path: The file; its folder is made when it is missing. See `replacing` for devices, pipes and links.
        content: Text or bytes.
        durable: Wait until the file is on the disk; without it, a power loss may leave the file empty.

    Raises:
        OSError: it cannot be written; what was there is there still.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "new" / "a.txt", "text")
    ...     print(sorted(path.name for path in Path(folder).rglob("*")))
    ['a.txt', 'new']
    """
    with replacing(path, durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends without an error.

    It is written under a temporary name in the same folder and renamed. What exists and is no regular file (a device,
    a pipe, standard output) is never replaced but written to; of a link, the target is replaced.

    Args:
        path: The file; its folder is made when it is missing.
        durable: Wait until the file and its name are on the disk.

    Raises:
        OSError: it cannot be written; what was there is there still, and the temporary file is removed.
    """
    if _is_stream(path):
        with path.open("ab") as stream:  # appending: `-o /dev/stdout >> log` must not truncate the log
            yield stream
        return
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(_temporary_name(place))
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(place.parent)


@contextlib.contextmanager
def new_folder(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends without an error; else nothing stays of it.

    Args:
        path: The folder to be; what a killed process left of it, ``<path>.unfinished``, is removed first.
        durable: Wait until all files are on the disk before the folder gets its name, so that a power loss leaves
            either no folder or a whole one.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if durable:
            sync_tree(unfinished)
        unfinished.replace(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Wait until all files and folders below a folder are on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):  # not every file system opens folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Keep other processes from a folder while the block runs.

    Where the file system has no locks, as some network ones, a file with a heartbeat stands for one: it is taken over
    when it has been still for `LEASE_SECONDS`, and a process that finds its own taken over ends, as if terminated. A
    folder that cannot be written is read without a lock: writing into it fails anyway, and records are replaced as a
    whole.

    Args:
        folder: The folder.
        waiting: Called once where another process works in it, which is waited for; without it, that is an error.

    Raises:
        UsageError: another process works in it.
        OSError: the lock cannot be made for want of space.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout  # asyncio, which no command needs at its start

    lock: BaseFileLock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLease(folder / ".lease", lease_duration=LEASE_SECONDS, on_compromise=_lease_lost)
            lock.acquire(timeout=0)
    except Timeout as error:
        if waiting is None:
            raise UsageError(f"{folder}: another process is running this; wait for it, or choose another -o") from error
        waiting()
        lock.acquire(poll_interval=1.0)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _lease_lost(compromise: object) -> None:
    """End this process, which was silent for so long that another one took its folder over."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def writing_to(place: object) -> Iterator[None]:
    """Turn errors of the disk inside the block into one line that names the place.

    Args:
        place: Beginning of the message, for example ``-o results``.

    Raises:
        UsageError: the disk is full, read-only or otherwise not to be written.
    """
    try:
        yield
    except HarnessError:  # whatever it says of some other place
        raise
    except Exception as error:  # torch and safetensors have their own kinds of error for a full disk
        reason = disk_fault(error)
        if reason is None and (not isinstance(error, OSError) or isinstance(error, BrokenPipeError)):
            raise
        raise UsageError(
            f"{place}: cannot be written ({reason or getattr(error, 'strerror', None) or error})"
        ) from error


def check_writable(option: str, folder: Path) -> None:
    """Make a folder and write into it once: before hours of work, not after. What was made is removed again.

    Raises:
        UsageError: it cannot be made or written; the message begins with the option.
    """
    with writing_to(f"{option} {folder}"):
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / _temporary_name(folder)
        try:
            probe.write_bytes(b"0")
        finally:
            probe.unlink(missing_ok=True)
            for place in missing:  # a command that fails on its input leaves no empty results folder
                with contextlib.suppress(OSError):
                    place.rmdir()


def disk_fault(error: BaseException) -> str | None:
    """Return in words why a disk could not be written, if that is what an error or its causes say."""
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    for one in chain:  # a number is surer than a text
        if isinstance(one, OSError) and one.errno in _DISK:
            return _DISK[one.errno]
    texts = [str(one) for one in chain if "shared memory" not in str(one)]  # torch's, which lies on no disk
    if any(known in text for text in texts for known in _DISK_TEXTS):
        return _DISK[errno.ENOSPC]
    return None


def free_space(folder: Path) -> str:
    """Return the free space of the disk of a folder, in words."""
    return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free"


def _is_stream(path: Path) -> bool:
    """Return whether a path exists and is no regular file, or is an open file by its number, as ``/dev/stdout``."""
    if str(path.parent) in ("/dev/fd", "/proc/self/fd") or str(path) in _STANDARD:
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


_STANDARD = ("/dev/stdout", "/dev/stderr")


def _temporary_name(path: Path) -> str:
    """Return a name that no other process takes: process ids repeat between the machines of a shared disk."""
    host = "".join(character for character in platform.node() if character.isalnum())[:16]
    return f".{path.name[:60]}.{host}.{os.urandom(6).hex()}.tmp"


def cache_home() -> Path:
    """Return the folder of everything the harness may delete and make again (environment: HARNESS_CACHE).

    Raises:
        UsageError: it follows from a home folder, and there is none.
    """
    given = os.environ.get("HARNESS_CACHE")
    return expanded(Path(given or "~/.cache/harness"), "HARNESS_CACHE")


def expanded(path: Path, option: str) -> Path:
    """Return a path with ``~`` replaced by a home folder.

    Args:
        path: As a user gave it.
        option: The option or environment variable that mends it, for the message.

    Raises:
        UsageError: that user is unknown or has no home folder, as in some containers.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: {str(error).rstrip('.')}; give a full path with {option}") from error
