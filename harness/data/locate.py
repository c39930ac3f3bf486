"""Where data sets and caches are looked for."""

import os
from pathlib import Path

from harness.data.card import Card
from harness.errors import DataError


def cache_home() -> Path:
    """Return the folder of everything the harness may delete and make again (environment: HARNESS_CACHE)."""
    return Path(os.environ.get("HARNESS_CACHE") or Path.home() / ".cache" / "harness").expanduser()


def data_home() -> Path:
    """Return the folder data sets are kept in by default (environment: HARNESS_DATA)."""
    return Path(os.environ.get("HARNESS_DATA") or cache_home() / "data").expanduser()


def find_root(card: Card, data_root: Path | None) -> Path:
    """Return the folder of the data set.

    Args:
        card: The data set's card; its ``marker`` tells the folder.
        data_root: The folder itself or one that holds it under a known name; None for `data_home`.

    Raises:
        DataError: it is not there; the message is `how_to_get`.
    """
    base = data_home() if data_root is None else data_root.expanduser()
    places = [base, *(base / name for name in card.roots)]
    for place in places:
        if (place / card.marker).is_dir():
            return place
    raise DataError(how_to_get(card, places))


def how_to_get(card: Card, places: list[Path]) -> str:
    """Return what a user must know to get a missing data set."""
    looked = "\n".join(f"  {place}" for place in places)
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
