"""The records of a site with their folders, the names of their pages, and their pictures."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from harness.errors import UsageError
from harness.records import Record
from harness.records.load import RECORD_NAME, find_stored

CAPTIONS = {
    "predictions.png": "Labels and predictions of the first scenes",
    "curves.png": "Training losses by task and term, as they are summed",
    "layers.png": "Where sub-tasks differ from the base, and which rows they compute",
}
"""Picture in a run's folder to its caption."""

_LONGEST_SLUG = 120
"""Characters of a page's name, so that it fits a file system's 255 bytes with digest and suffix."""

_WIDEST = 1600
"""Pixels of a picture on a page: the width of the page on a screen with two pixels per point."""


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
    entries = list(entries)
    uses = Counter(entry.record.run_id for entry in entries)
    # Digests take longer than all else; only records of one run_id need them.
    unique = {(one.record.run_id, one.digest if uses[one.record.run_id] > 1 else ""): one for one in entries}
    return [unique[key] for key in sorted(unique)]


def slugs(entries: Sequence[Entry]) -> dict[Entry, str]:
    """Return a distinct file name for every entry, from its run id: letters, digits, ``.``, ``_`` and ``-`` alone.

    Names are distinct on file systems that ignore case, too. Where several run ids lead to the same name, or to an
    empty one, the record's digest is appended.
    """
    plain = {
        entry: re.sub(r"[^A-Za-z0-9._]+", "-", entry.record.run_id)[:_LONGEST_SLUG].strip(".-") for entry in entries
    }
    uses = Counter(name.lower() for name in plain.values())
    return {
        entry: name if name and uses[name.lower()] == 1 else f"{name or 'record'}-{entry.digest[:12]}"
        for entry, name in plain.items()
    }


class Picture(NamedTuple):
    """A picture as it is shown: WebP bytes and size in pixels; no bytes where the file is damaged."""

    name: str
    caption: str
    content: bytes | None
    width: int = 0
    height: int = 0


def pictures(folder: Path | None) -> list[Picture]:
    """Return the pictures in a run's folder, made small enough for a page."""
    found = []
    for file, caption in CAPTIONS.items() if folder is not None else ():
        path = folder / file  # type: ignore[operator]
        if not path.is_file():
            continue
        name = f"{path.stem}.webp"
        try:
            # PNG alone, which the harness writes: other decoders are not opened to files of other people.
            with Image.open(path, formats=["PNG"]) as image:
                small = image.convert("RGBA" if "A" in image.mode else "RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError):
            found.append(Picture(name, caption, None))
            continue
        small.thumbnail((_WIDEST, 8 * _WIDEST))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=82, method=4)
        found.append(Picture(name, caption, buffer.getvalue(), *small.size))
    return found
