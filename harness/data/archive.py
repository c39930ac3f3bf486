"""Unpacking archives that are not trusted: nothing lands outside, and all of it or nothing appears."""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from harness.data.card import Card
from harness.errors import DataError

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)

_Member = tuple[PurePosixPath, IO[bytes] | None]
"""A checked path, and the content of a file; None for a folder."""


def unpack(archive: Path, home: Path, card: Card) -> Path:
    """Unpack an archive of a data set and return the data set's folder below ``home``.

    Everything goes to a temporary folder beside the target first; the target appears by one renaming.

    Args:
        archive: A .tar, .tar.gz, .tgz or .zip file; told by its content.
        home: Folder to hold the data set's folder.
        card: The data set; its ``marker`` must be in the archive.

    Raises:
        DataError: the archive is missing, broken or of something else, or a member is a link, a device or would land
            outside; or the target exists already.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file; give the downloaded archive with --archive FILE")
    home.mkdir(parents=True, exist_ok=True)
    temporary = home / f".{card.name}.partial"
    with FileLock(home / f".{card.name}.lock"):
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        try:
            _extract(archive, temporary)
            found = _data_set_folder(temporary, archive, card)
            target = home / (found.name if found.name in card.roots else card.roots[0])
            if target.exists():
                raise DataError(f"{target}: exists already; move it away to unpack the archive again")
            found.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path) -> None:
    try:
        for path, content in _members(archive):
            target = folder / path
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except _BROKEN as error:
        raise DataError(f"{archive}: the archive is broken or incomplete ({error}); download it again") from error


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    else:
        yield from _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            path = _inside(member.name, archive)
            if member.isdir():
                yield path, None
            elif member.isreg():
                yield path, tar.extractfile(member)
            else:
                raise DataError(f"{archive}: {member.name!r} is a link or a device; it is not unpacked")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as held:
        for member in held.infolist():
            path = _inside(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive}: {member.filename!r} is a link or a device; it is not unpacked")
            if member.flag_bits & 1:
                raise DataError(f"{archive}: the archive is encrypted")
            yield path, None if member.is_dir() else held.open(member)


def _inside(name: str, archive: Path) -> PurePosixPath:
    """Return a member's path, refused where it could leave the folder it is unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DataError(f"{archive}: {name!r} would land outside its folder; such an archive is not unpacked")
    return path


def _data_set_folder(folder: Path, archive: Path, card: Card) -> Path:
    for candidate in (folder, *sorted(folder.iterdir())):
        if (candidate / card.marker).is_dir():
            return candidate
    raise DataError(f"{archive}: holds no {card.marker}/ and so is no archive of {card.title}")
