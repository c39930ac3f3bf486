"""Reads the records of results folders for a report."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.records import RECORD_NAME, Record, read_record


def read_results(paths: Sequence[Path]) -> list[Record]:
    """Return the records in files and below folders, each once, in the order of the paths.

    Raises:
        UsageError: a path does not exist or holds no record, a record is damaged, or two differ under one run_id.
    """
    found: dict[Path, Record] = {}
    for path in paths:
        for file in _files(path):
            if file.resolve() not in found:
                found[file.resolve()] = read_record(file)
    known: dict[str, tuple[Path, Record]] = {}
    for file, record in found.items():
        first, held = known.setdefault(record.run_id, (file, record))
        if held != record:
            raise UsageError(f"{first} and {file} hold different records of {record.run_id}; give one of them")
    return [record for _, record in known.values()]


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give a results folder or a {RECORD_NAME}")
    files = sorted(path.rglob(RECORD_NAME))
    if not files:
        raise UsageError(f"{path}: no {RECORD_NAME} below it; harness run and harness bench write them")
    return files
