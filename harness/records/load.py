"""Reading records: one file, or every record below results folders.

A folder of results has many owners: a record that cannot be read, damaged or written by a newer version, is left out
and named, and the others are used. A file that was named by itself has to be readable.
"""

import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from harness.errors import UsageError, first_fault
from harness.files import write_atomically
from harness.records.schema import Record

RECORD_NAME = "record.json"


class UnreadableRecord(UserWarning):
    """A record below a results folder that was left out, and why."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A record and its place.

    Attributes:
        record: The record.
        path: Its file.
    """

    record: Record
    path: Path

    def neighbour(self, run_id: str) -> Record | None:
        """Return another record of the same results folder; None where it is not there, or would lie outside."""
        if ".." in Path(run_id).parts or Path(run_id).is_absolute() or "\0" in run_id:
            return None
        root = self.path.absolute().parent
        for _ in self.record.run_id.split("/"):
            root = root.parent
        file = root / run_id / RECORD_NAME
        return read_record(file) if file.is_file() else None


def write_record(record: Record, folder: Path) -> Path:
    """Write ``folder/record.json`` and return its path; a reader sees the old file or the new one."""
    record.updated_at = datetime.now(UTC)
    path = folder / RECORD_NAME
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_record(path: Path) -> Record:
    """Return the record in a file or in a run's folder.

    Raises:
        UsageError: there is none, or it is damaged or of another schema version.
    """
    file = path / RECORD_NAME if path.is_dir() else path
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for without end
            raise UsageError(f"record {file}: not a regular file")
        return Record.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"record {file}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"record {file}: damaged or of another schema version ({first_fault(error)})") from error


def find_stored(root: Path) -> Iterator[Stored]:
    """Yield every readable record below a folder with its place, in order of path; warn of the others."""
    for path in sorted(root.rglob(RECORD_NAME)):
        try:
            yield Stored(read_record(path), path)
        except UsageError as error:
            warnings.warn(f"{error}; it is left out", UnreadableRecord, stacklevel=2)


def find_records(root: Path) -> Iterator[Record]:
    """Yield every readable record below a folder, in order of path; warn of the others."""
    for stored in find_stored(root):
        yield stored.record


def load_stored(path: Path) -> list[Stored]:
    """Return the record in a file, or those below a folder, with their places.

    Raises:
        UsageError: the path does not exist, holds no record, or is a file that cannot be read.
    """
    if path.is_file():
        return [Stored(read_record(path), path)]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give a results folder or a {RECORD_NAME}")
    found = list(find_stored(path))
    if not found:
        several = next(path.rglob(RECORD_NAME), None) is not None
        lacking = f"none of its {RECORD_NAME} can be read" if several else f"no {RECORD_NAME} below it"
        raise UsageError(f"{path}: {lacking}; harness run and harness bench write them")
    return found


def read_results(paths: Sequence[Path]) -> list[Record]:
    """Return the records in files and below folders, each once, in the order of the paths.

    Raises:
        UsageError: a path does not exist or holds no record, or two records differ under one run_id.
    """
    return [stored.record for stored in read_stored(paths)]


def read_stored(paths: Sequence[Path]) -> list[Stored]:
    """Return the records in files and below folders with their places, as `read_results` does."""
    found = {stored.path.resolve(): stored for path in paths for stored in load_stored(path)}
    known: dict[str, Stored] = {}
    for stored in found.values():
        first = known.setdefault(stored.record.run_id, stored)
        if first.record != stored.record:
            raise UsageError(
                f"{first.path} and {stored.path} hold different records of {stored.record.run_id}; give one of them"
            )
    return list(known.values())
