"""Identity of the content of a data set's files: a digest of all bytes, found again by the files' stats."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.data.dataset import Reader
from harness.data.files import MOST_BYTES
from harness.files import write_atomically
from harness.progress import progress_bar

_THREADS = 4  # hashing waits for the disk more than it computes, and runs outside the interpreter's lock


def content_digest(reader: Reader, tasks: Sequence[str], ids: Sequence[str], stamp: Path, title: str) -> str:
    """Return a digest of the content of the source files.

    Files are read only when their stats differ from those that ``stamp`` notes next to the digest: size, times of
    change of content and of the entry, number and device. The time of change of an entry cannot be set by hand; where
    the file system keeps none (images of containers: whole seconds everywhere), the files are read every time.
    """
    files = list(_sources(reader, tasks, ids))
    lines, whole_seconds = [], True
    for name, _, status in files:
        if status is None:
            lines.append(f"{name} absent\n")
            continue
        numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        lines.append(f"{name} {' '.join(map(str, numbers))}\n")
        whole_seconds &= status.st_ctime_ns % 1_000_000_000 == 0
    seen = short_digest("".join(lines))
    if not whole_seconds:
        try:
            noted, digest = stamp.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            noted = ""
        if noted == seen:
            return digest
    content = hashlib.sha256()
    present = [path for _, path, status in files if status is not None]
    with progress_bar(title, len(present), unit="file") as report, ThreadPoolExecutor(_THREADS) as threads:
        digests = iter(threads.map(_digest_of, present))
        for done, (name, _, status) in enumerate(files, start=1):
            content.update(f"{name} {'absent' if status is None else next(digests)}\n".encode(errors="surrogateescape"))
            report(done)
    with contextlib.suppress(OSError):  # a cache that is only read: the files are read again next time
        write_atomically(stamp, f"{seen} {content.hexdigest()}")
    return content.hexdigest()


def _sources(
    reader: Reader, tasks: Sequence[str], ids: Sequence[str]
) -> Iterator[tuple[str, Path, os.stat_result | None]]:
    """Yield (role and path, path, stats) of every source file; the stats are None for what is never read."""
    wanted = getattr(reader, "sources", None)  # readers that do not say need all of their files
    roles = None if wanted is None else {"image", *(role for task in tasks for role in wanted(task))}
    for image_id in ids:
        for role, path in reader.files(image_id).items():
            if roles is not None and role not in roles:
                continue
            try:
                status = path.stat()
            except (OSError, ValueError):  # the decoder complains where it needs the file
                yield f"{role} {path}", path, None
            else:
                usable = stat.S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES
                yield f"{role} {path}", path, status if usable else None


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # unreadable: again, the decoder complains
        return "unreadable"


def short_digest(text: str) -> str:
    """Return 32 hex digits of the sha256 of a text, for names of files."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
