"""Unpacking archives that are not trusted: nothing lands outside, and all of it or nothing appears."""

import codecs
import contextlib
import errno
import json
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from filelock import FileLock

from harness.data.card import Card
from harness.errors import DataError, HarnessError, UsageError
from harness.files import sha256_of

NOTE = "archive.json"
"""File in an unpacked folder that names the archive it came from."""

_BY_HAND = "unpack the archive by hand and give the folder with --data-root"
_CHUNK = 1 << 20
"""Bytes that are read at a time; the quota is checked between two reads."""
_MOST_MEMBERS = 500_000  # PASCAL-Context has 60 000 files
_MOST_RATIO = 100
"""Bytes unpacked per byte of the archive. Images and labels shrink two to ten times, a bomb a thousand times."""
_ALWAYS_FINE = 64 << 20
"""Bytes that are unpacked whatever the ratio: small archives of flat label maps shrink a lot."""
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_OTHER_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\x1f\x9d": "a compress archive",
}
_ARCHIVE_SUFFIXES = (".tar", ".tgz", ".gz", ".zip", ".bz2", ".xz", ".7z", ".rar")
_PLACE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)
"""Faults of the disk that is written to, not of the archive."""


@dataclass
class _Member:
    """One entry of an archive: its checked path, and the content of a file with its promised size."""

    path: PurePosixPath
    content: IO[bytes] | None = None
    size: int = 0


def unpack(archive: Path, home: Path, card: Card) -> Path:
    """Unpack an archive of a data set and return the data set's folder below ``home``.

    Everything goes to a temporary folder next to the target first; the target appears by one renaming. It holds a
    note of the archive's name, size and sha256.

    Args:
        archive: A .tar, .tar.gz, .tgz or .zip file; recognised by its content.
        home: Folder to contain the data set's folder.
        card: The data set; its ``marker`` must be in the archive, in one folder at any depth.

    Raises:
        DataError: the archive is missing, broken, of something else or not the published file, unpacks to more than
            is plausible, or a member is a link, a device or would land outside; or the target exists already.
        UsageError: ``home`` cannot be written or is too small.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file; give the downloaded archive with --archive FILE")
    _check_kind(archive)
    # The published file, where its sha256 is known.
    digest = {"file": archive.name, "bytes": archive.stat().st_size, "sha256": sha256_of(archive)}
    known = {held.sha256 for held in card.archives if held.file == archive.name and held.sha256}
    if known and digest["sha256"] not in known:
        raise DataError(
            f"{archive}: is not the published file (sha256 {digest['sha256']}, published {', '.join(sorted(known))}); "
            f"download it again"
        )
    temporary = home / f".{card.name}.partial"
    lock = FileLock(home / f".{card.name}.lock")
    with _placing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        _clear(temporary)  # what a killed run left
        _extract(archive, temporary)
        found = _data_set_folder(temporary, archive, card)
        target = home / (found.name if found.name in card.roots else card.roots[0])
        if target.exists():
            raise DataError(f"{target}: exists already; move it away to unpack the archive again")
        with _placing(target):
            (found / NOTE).write_text(json.dumps(digest, indent=2) + "\n", encoding="utf-8")
            found.rename(target)
    finally:
        _clear(temporary)
        lock.release()
    return target


def read_note(root: Path) -> dict[str, Any] | None:
    """Return the name, size and sha256 of the archive that a folder was unpacked from; None where none is noted."""
    try:
        note = json.loads((root / NOTE).read_text(encoding="utf-8")) if (root / NOTE).is_file() else None
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _clear(place: Path) -> None:
    """Remove a folder, or whatever else lies in its place."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


@contextmanager
def _placing(place: Path) -> Iterator[None]:
    """Turn faults of the disk that is written to into a `UsageError`."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{place}: cannot be written ({error.strerror}); name another folder") from error


# What kind of file it is.


def _check_kind(archive: Path) -> None:
    """Raise a `DataError` for files that are no archives Python can read: pages, texts, other formats."""
    with _reading(archive), archive.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x1f\x8b"):  # a page that the browser saved as it was sent, compressed
        with contextlib.suppress(zlib.error):
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 512) or head
    if not head:
        raise DataError(f"{archive}: the file is empty; download it again")
    for magic, kind in _OTHER_ARCHIVES.items():
        if head.startswith(magic):
            raise DataError(f"{archive}: is {kind}, which is not read here; {_BY_HAND}")
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head.decode("utf-16" if marked else "utf-8-sig", errors="replace").lstrip()
    if text.lower().startswith(("<!doctype html", "<html", "<head", "<?xml", "<!--", "<body", "<script")):
        raise DataError(
            f"{archive}: is a web page, not an archive; open it in a browser to see what the server says, and save "
            f"the file that its link leads to"
        )
    if not any(byte < 9 or 13 < byte < 32 for byte in head):  # no archive begins with 512 bytes of text
        shown = text.splitlines()[0][:60] if text else ""
        raise DataError(f"{archive}: is a text, not an archive (it begins with {shown!r}); download the archive again")


# Reading and writing.


class _Quota:
    """Bytes and members that an archive may still unpack to."""

    def __init__(self, archive: Path, home: Path) -> None:
        self.archive, self.home = archive, home
        self.free = shutil.disk_usage(home).free
        self.most = max(_ALWAYS_FINE, _MOST_RATIO * archive.stat().st_size)
        self.members = self.bytes = 0

    def expect(self, more: int) -> None:
        """Raise an error unless ``more`` bytes may be written."""
        total = self.bytes + more
        if total > self.most:
            raise DataError(
                f"{self.archive}: unpacks to more than {_MOST_RATIO} times its size ({total} bytes), which no data "
                f"set does; if you trust it, {_BY_HAND}"
            )
        if total > self.free:
            raise UsageError(f"{self.home}: {self.free} bytes are free, {self.archive.name} needs {total} or more")

    def take(self, count: int) -> None:
        """Count bytes that are about to be written."""
        self.expect(count)
        self.bytes += count

    def member(self) -> None:
        """Count a member."""
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise DataError(f"{self.archive}: holds more than {_MOST_MEMBERS} members; {_BY_HAND}")


def _extract(archive: Path, folder: Path) -> None:
    """Unpack into a new folder, member by member within the quota; faults are laid to the archive or to the disk."""
    with _placing(folder):
        folder.mkdir()
    quota = _Quota(archive, folder.parent)
    with _reading(archive):
        for member in _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive):
            quota.member()
            if any(part.startswith("._") or part in ("__MACOSX", ".DS_Store") for part in member.path.parts):
                continue  # what macOS adds to each file
            target = folder / member.path
            if member.content is None:
                with _placing_member(archive, member.path):
                    target.mkdir(parents=True, exist_ok=True)
                continue
            quota.expect(member.size)
            with _placing_member(archive, member.path):
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("wb", buffering=0)  # closing a buffered file would fail once more on a full disk
            with file, member.content:
                while chunk := member.content.read(_CHUNK):
                    quota.take(len(chunk))
                    rest = memoryview(chunk)
                    while rest:
                        with _placing_member(archive, member.path):
                            rest = rest[file.write(rest) :]


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn every fault of reading an archive into a `DataError`: the parsers let almost any exception out."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{archive}: the archive is broken or incomplete ({reason!s}); download it again") from error


@contextmanager
def _placing_member(archive: Path, path: PurePosixPath) -> Iterator[None]:
    """Lay faults of writing to the disk or, for names and kinds that do not go together, to the archive."""
    try:
        yield
    except OSError as error:
        if error.errno in _PLACE_FAULTS:
            raise UsageError(
                f"{archive}: cannot be unpacked ({error.strerror}); free the disk, or name another folder"
            ) from error
        raise DataError(f"{archive}: {_shown(path)} cannot be unpacked ({error.strerror}); {_BY_HAND}") from error


def _shown(path: object) -> str:
    text = str(path)
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            path = _inside(member.name, archive)
            if member.isdir():
                yield _Member(path)
            elif member.isreg() and not member.issparse():
                yield _Member(path, tar.extractfile(member), member.size)
            else:
                raise DataError(
                    f"{archive}: {_shown(member.name)} is a link or a device or sparse; it is not unpacked; {_BY_HAND}"
                )


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as held:
        for member in held.infolist():
            path = _inside(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(
                    f"{archive}: {_shown(member.filename)} is a link or a device; it is not unpacked; {_BY_HAND}"
                )
            if member.flag_bits & 1:
                raise DataError(f"{archive}: the archive is encrypted; {_BY_HAND}")
            if member.compress_type not in _ZIP_METHODS:  # 9 is Deflate64, which Windows writes beyond 2 GB
                name = "Deflate64" if member.compress_type == 9 else f"method {member.compress_type}"
                raise DataError(f"{archive}: uses a compression that Python cannot read ({name}); {_BY_HAND}")
            yield _Member(path) if member.is_dir() else _Member(path, held.open(member), member.file_size)


def _inside(name: str, archive: Path) -> PurePosixPath:
    """Return a member's path, refused where it could leave the folder it is unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DataError(f"{archive}: {_shown(name)} would land outside its folder; such an archive is not unpacked")
    return path


def _data_set_folder(folder: Path, archive: Path, card: Card) -> Path:
    """Return the folder that holds the marker: the only one, or the only one nearest to the top."""
    first = PurePosixPath(card.marker).parts[0]
    found = [place.parent for place in (folder / first, *folder.rglob(first)) if (place.parent / card.marker).is_dir()]
    depth = min((len(place.parts) for place in found), default=0)
    nearest = sorted({place for place in found if len(place.parts) == depth})
    if len(nearest) == 1:
        return nearest[0]
    if nearest:
        shown = ", ".join(str(place.relative_to(folder)) for place in nearest[:5])
        raise DataError(f"{archive}: holds several folders with {card.marker}/ ({shown}); {_BY_HAND}")
    # Another archive: say what it is instead.
    names = sorted(path.name for path in folder.iterdir())
    inner = sorted(path.name for path in folder.rglob("*") if path.name.lower().endswith(_ARCHIVE_SUFFIXES))
    shown = ", ".join(map(_shown, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    content = f"it holds {shown or 'nothing'}"
    if inner:
        content = f"it holds another archive, {_shown(inner[0])}: unpack that one, or give it with --archive"
    raise DataError(f"{archive}: holds no {card.marker}/ and so is no archive of {card.title}; {content}")
