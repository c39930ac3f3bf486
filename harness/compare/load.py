"""The records of one side of a comparison."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.records import RECORD_NAME, Record, read_record


@dataclass(frozen=True)
class Entry:
    """A record and where it lies.

    Attributes:
        record: The record.
        path: Its file.
    """

    record: Record
    path: Path

    def beside(self, run_id: str) -> Record | None:
        """Return another record of the same results folder; None where it is not there."""
        root = self.path.absolute().parent
        for _ in self.record.run_id.split("/"):
            root = root.parent
        file = root / run_id / RECORD_NAME
        return read_record(file) if file.is_file() else None


def load(side: str, path: Path) -> tuple[list[Entry], bool]:
    """Return the records below a folder, or the one in a file or in a run's folder.

    Args:
        side: What the path is called in messages, ``BASE`` or ``HEAD``.
        path: A results folder, a run's folder or a record's file.

    Returns:
        The records in order of path, and whether one single record was named.

    Raises:
        UsageError: there are none, or one cannot be read.
    """
    if not path.exists():
        raise UsageError(f"{side} {path}: no such file or folder")
    if path.is_file() or (path / RECORD_NAME).is_file():
        file = path if path.is_file() else path / RECORD_NAME
        return [Entry(read_record(file), file)], True
    entries = [Entry(read_record(file), file) for file in sorted(path.rglob(RECORD_NAME))]
    if not entries:
        raise UsageError(f"{side} {path}: holds no {RECORD_NAME}; give a folder that -o of run or bench named")
    return entries, False
