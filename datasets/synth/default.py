"""The default synthetic sets: rendered on first use, kept in the cache."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from harness.datasets.synth import GENERATOR_VERSION

from harness.data.card import Card
from harness.data.locate import cache_home
from harness.errors import DataError
from harness.progress import progress_bar

SEED, TRAIN, VAL = 0, 160, 40
"""Seed and numbers of images of the default sets."""

Writer = Callable[[Path, Callable[[int, int], None]], None]


def default_root(name: str, write: Writer) -> Path:
    """Return the folder of the default set called `name`; it is rendered when it is not there yet.

    Two processes may ask at once: one renders, the other waits.

    Args:
        name: Name of the data set.
        write: Called with the folder to write and a function that takes (done, total).
    """
    folder = cache_home() / "synth" / f"{name}-v{GENERATOR_VERSION}-seed{SEED}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with progress_bar(f"rendering {name}", TRAIN + VAL) as advance:
                write(folder, lambda done, _: advance(done))
    return folder


def given_root(card: Card, data_root: Path) -> Path:
    """Return the folder that a user named, or the one inside it that bears the data set's name.

    Raises:
        DataError: neither is in the layout of the data set.
    """
    base = data_root.expanduser()
    for place in (base, *(base / name for name in card.roots)):
        if (place / card.marker).is_dir():
            return place
    raise DataError(
        f"{base}: holds no {card.marker}/ of {card.name}; write one there with `harness data synth {card.name}`, "
        "or leave --data-root out to use the default set"
    )
