"""The records of one side of a comparison."""

from pathlib import Path

from harness.errors import UsageError
from harness.records.load import RECORD_NAME, Stored, find_stored, read_record


def load(side: str, path: Path) -> tuple[list[Stored], bool]:
    """Return the records below a folder, or the one in a file or in a run's folder.

    Args:
        side: Name of the path in messages, ``BASE`` or ``HEAD``.
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
        return [Stored(read_record(file), file)], True
    stored = list(find_stored(path))
    if not stored:
        raise UsageError(
            f"{side} {path}: holds no {RECORD_NAME} that can be read; give a folder that -o of run or bench named"
        )
    return stored, False
