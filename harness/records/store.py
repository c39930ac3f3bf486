"""Results in a store that is named by a URL (S3, GCS, SSH ... by fsspec): finished runs put there, and read again.

A record is the last file of a run that is written and the first that is removed: whoever reads sees a run with its
artifact, or none.
"""

import contextlib
import hashlib
import posixpath
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import UsageError, described
from harness.files import sha256_of
from harness.records.load import RECORD_NAME

ARTIFACT = "artifact"
"""Folder of a run that is large and that no view needs."""

_DIGEST = f"{ARTIFACT}.sha256"
"""File beside an artifact in a store: what was put there last, so that it is not sent again."""

_LEFT_OUT = (".lock", ".lease", "checkpoint.pt")
"""Files of a run that are of use to its process alone."""


def is_url(place: object) -> bool:
    """Return whether a place is a URL of a store.

    >>> is_url("s3://bucket/results"), is_url("results/measured")
    (True, False)
    """
    return "://" in str(place)


def publish(folder: Path, url: str, run_id: str) -> None:
    """Put a finished run into a store: the artifact first, the record last.

    Args:
        folder: Of the run.
        url: Of the results in the store.
        run_id: Folder of the run below them.

    Raises:
        UsageError: the store cannot be written; no record of the run is left there that has no artifact.
    """
    with _reachable("--publish", url):
        system, root = _opened(url)
        target = posixpath.join(root, run_id)
        record, digest = posixpath.join(target, RECORD_NAME), posixpath.join(target, _DIGEST)
        own = (folder / RECORD_NAME).read_bytes()
        if system.exists(record) and system.cat_file(record) == own:
            return
        # 1. Without the record, readers see no run while files change.
        if system.exists(record):
            system.rm_file(record)
        # 2. The artifact, unless it is there already.
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _LEFT_OUT]
        large = [path for path in files if path.relative_to(folder).parts[0] == ARTIFACT]
        names = "".join(f"{path.relative_to(folder)} {sha256_of(path)}\n" for path in large)
        wanted = hashlib.sha256(names.encode()).hexdigest().encode()
        if not (system.exists(digest) and system.cat_file(digest) == wanted):
            if system.exists(digest):
                system.rm_file(digest)
            if system.exists(posixpath.join(target, ARTIFACT)):
                system.rm(posixpath.join(target, ARTIFACT), recursive=True)
            _put(system, large, folder, target)
            system.pipe_file(digest, wanted)
        # 3. What views show, then the record under a name of its own, which becomes the right one at once.
        small = [path for path in files if path not in large and path.name != RECORD_NAME and path.suffix != ".tmp"]
        _put(system, small, folder, target)
        system.pipe_file(f"{record}.unfinished", own)
        system.mv(f"{record}.unfinished", record)


def _put(system: Any, files: list[Path], folder: Path, target: str) -> None:
    for path in files:
        place = posixpath.join(target, path.relative_to(folder).as_posix())
        system.makedirs(posixpath.dirname(place), exist_ok=True)
        system.put_file(str(path), place)


def check_store(url: str) -> None:
    """Check that a store can be named so: before hours of work, not after.

    Raises:
        UsageError: its kind is unknown, or needs a package that is not installed.
    """
    with _reachable("--publish", url):
        _opened(url)


@contextlib.contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Yield a folder with the results of a store, without artifacts, while the block runs.

    Raises:
        UsageError: there is nothing, or the store cannot be read.
    """
    with TemporaryDirectory(prefix="harness-") as place:
        with _reachable("results", url):
            system, root = _opened(url)
            found = system.find(root)
            for name in found:
                parts = Path(posixpath.relpath(name, root)).parts
                if ARTIFACT in parts or ".." in parts or parts[-1] in _LEFT_OUT:
                    continue
                target = Path(place, *parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(system.cat_file(name))
        if not found:
            raise UsageError(f"results {url}: there is nothing; harness run --publish puts runs there")
        yield Path(place)


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # it imports asyncio, which no command needs at its start

    system, root = url_to_fs(url)
    return system, str(root).rstrip("/")


@contextlib.contextmanager
def _reachable(option: str, url: str) -> Iterator[None]:
    """Turn what a store raises, of any kind, into one line.

    Raises:
        UsageError: it raised something.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # every store has errors of its own
        raise UsageError(f"{option} {url}: {described(error)}") from error
