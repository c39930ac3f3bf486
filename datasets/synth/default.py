"""The default synthetic sets: rendered on first use, kept in the cache."""

from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from harness.data.card import Card
from harness.data.dataset import SyntheticDataset
from harness.data.locate import has_layout, places, writing_cache
from harness.datasets.synth import GENERATOR_VERSION
from harness.errors import DataError, UsageError
from harness.files import cache_home
from harness.progress import progress_bar

SEED, TRAIN, VAL = 0, 160, 40
"""Seed and numbers of images of the default sets."""


class Rendered(SyntheticDataset):
    """A data set that is rendered on first use when no folder is given."""

    default_train: ClassVar[int] = TRAIN
    default_val: ClassVar[int] = VAL
    rendered_scenes: ClassVar[int] = TRAIN + VAL
    """Scenes or clips of the default set, for the progress bar."""

    def root(self, data_root: Path | None) -> Path:
        """Return the folder given, or the default set in the cache, rendered when it is not there yet.

        Two processes may ask at once: one renders, the other waits.

        Raises:
            DataError: the folder given is not in the layout.
            UsageError: the cache cannot be written.
        """
        if data_root is not None:
            return given_root(self.card, data_root)
        folder = cache_home() / "synth" / f"{self.name}-v{GENERATOR_VERSION}-seed{SEED}"
        if folder.is_dir():  # it appears complete or not at all, so that a cache that is only read is enough
            return folder
        with writing_cache(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    with progress_bar(f"rendering {self.name}", self.rendered_scenes) as report:
                        try:
                            train, val = self.default_train, self.default_val
                            self.write(folder, seed=SEED, train=train, val=val, progress=lambda done, _: report(done))
                        except UsageError as error:  # nobody named this folder
                            raise UsageError(f"{error} in the environment variable HARNESS_CACHE") from error
        return folder


def given_root(card: Card, data_root: Path) -> Path:
    """Return the folder that a user named, or the one inside it that bears the data set's name.

    Raises:
        DataError: neither is in the layout of the data set.
    """
    base, *others = places(card, data_root)
    for place in (base, *others):
        if has_layout(place, card):
            return place
    raise DataError(
        f"{base}: holds no {card.marker}/ of {card.name}; write one there with `harness data synth {card.name}`, "
        "or leave --data-root out to use the default set"
    )
