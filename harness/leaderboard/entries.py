"""The records of a site, where their folders are, and what their pages are called."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import UsageError
from harness.records import Record
from harness.records.load import RECORD_NAME, find_stored

_LONGEST_SLUG = 120


@dataclass(frozen=True, eq=False)
class Entry:
    """One record of the site.

    Attributes:
        record: The record.
        folder: The run's folder, with its pictures; None for a record that has none.
    """

    record: Record
    folder: Path | None = None

    @cached_property
    def digest(self) -> str:
        """The sha256 of the record's content."""
        return hashlib.sha256(self.record.model_dump_json().encode()).hexdigest()


def read_entries(roots: Iterable[Path]) -> list[Entry]:
    """Return the records below folders.

    Raises:
        UsageError: a folder does not exist, or holds no record that can be read.
    """
    roots = list(roots)
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"results {root}: the folder does not exist; give the one that -o of a command named")
    found = [stored for root in roots for stored in find_stored(root)]
    if not found:
        raise UsageError(
            f"no {RECORD_NAME} below {', '.join(map(str, roots))} that can be read; `harness run` writes them"
        )
    return [Entry(stored.record, stored.path.parent) for stored in found]


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries in an order that depends on the records alone; of equal records one is kept."""
    unique = {entry.digest: entry for entry in entries}
    return sorted(unique.values(), key=lambda entry: (entry.record.run_id, entry.digest))


def slugs(entries: Sequence[Entry]) -> dict[Entry, str]:
    """Return a distinct file name for every entry, from its run id: letters, digits, ``.``, ``_`` and ``-`` alone.

    Names are distinct on file systems that ignore case, too. Where run ids lead to the same name, or leave
    nothing of one, the record's digest tells them apart.
    """
    plain = {entry: _plain(entry.record.run_id) for entry in entries}
    uses = Counter(name.lower() for name in plain.values())
    return {
        entry: name if name and uses[name.lower()] == 1 else f"{name or 'record'}-{entry.digest[:12]}"
        for entry, name in plain.items()
    }


def _plain(run_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", run_id)[:_LONGEST_SLUG].strip(".-")
