"""Places of data sets and caches on this machine."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.data.card import Card
from harness.errors import DataError, UsageError
from harness.files import cache_home, expanded

_UNUSABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)
"""Faults of the place, which another place mends."""


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Turn faults of the place that a cache is written to into a `UsageError`.

    Raises:
        UsageError: the folder cannot be made or written, or its disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise UsageError(
            f"the cache folder {folder} cannot be written ({error.strerror}); "
            f"name another one in the environment variable HARNESS_CACHE"
        ) from error


def data_home() -> Path:
    """Return the folder data sets are kept in by default (environment: HARNESS_DATA).

    Raises:
        UsageError: it follows from a home folder, and there is none.
    """
    given = os.environ.get("HARNESS_DATA")
    return expanded(Path(given), "HARNESS_DATA") if given else cache_home() / "data"


def places(card: Card, data_root: Path | None) -> list[Path]:
    """Return the folders a data set is looked for in: the one given or `data_home`, and its known names below."""
    base = data_home() if data_root is None else expanded(data_root, "--data-root")
    return [base, *(base / name for name in card.roots)]


def has_layout(place: Path, card: Card) -> bool:
    """Return whether a folder is in the layout of a data set; one that cannot be looked into is not."""
    try:
        return (place / card.marker).is_dir()
    except (OSError, ValueError):  # a name that is too long, no permission
        return False


def find_root(card: Card, data_root: Path | None) -> Path:
    """Return the folder of the data set.

    Args:
        card: The data set's card; its ``marker`` identifies the folder.
        data_root: The folder itself or one that contains it under a known name; None for `data_home`.

    Raises:
        DataError: it is not there; the message is `how_to_get`.
    """
    searched = places(card, data_root)
    for place in searched:
        if has_layout(place, card):
            return place
    raise DataError(how_to_get(card, searched))


def how_to_get(card: Card, searched: list[Path]) -> str:
    """Return what a user must know to get a missing data set."""
    looked = "\n".join(f"  {place}" for place in searched)
    layout = "\n".join(f"  {line}" for line in card.layout.splitlines())
    links = "\n".join(
        f"  {archive.file} ({archive.build}): {link.url} ({link.state})"
        for archive in card.archives
        for link in archive.links
    )
    fetching = f"Get it with `harness data fetch {card.name}`, or by hand from:\n{links}\n" if links else ""
    stand_ins = " and ".join(f"`{name}`" for name in card.stand_ins)
    rendered = f"\nNo download is needed for {stand_ins}: rendered here in the same layouts." if stand_ins else ""
    return (
        f"{card.title} was not found; none of these folders holds {card.marker}/:\n{looked}\n"
        f"Give its place with --data-root DIR or the environment variable HARNESS_DATA. Expected files:\n{layout}\n"
        f"{fetching}Terms: {card.terms}{rendered}"
    )
