"""The default synthetic sets: rendered on first use, kept in the cache."""

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock

from harness.data.card import Card
from harness.data.dataset import SyntheticDataset
from harness.data.locate import has_layout, places, writing_cache
from harness.datasets.synth import GENERATOR_VERSION
from harness.errors import DataError, UsageError
from harness.files import cache_home
from harness.progress import progress_bar

SEED = 0
"""Seed of the default sets."""


@dataclass(frozen=True)
class Plan:
    """Scenes of a default set.

    Attributes:
        train: Training scenes.
        val: Validation scenes, so many that the interval of Δm over images is narrower than a point to each side.
        longest: Longest side of the images in pixels; None for the data set's own default.
    """

    train: int
    val: int
    longest: int | None = None


QUICK, MEDIUM = Plan(600, 240), Plan(4000, 400, longest=280)
"""Plans of the quick budget, and of the medium one: inputs of 224 pixels on the shorter side."""


class Rendered(SyntheticDataset):
    """A data set that is rendered on first use when no folder is given."""

    plan: Plan = QUICK

    def for_budget(self, budget: str) -> Self:
        """Return the data set with the scenes of a budget; full recipes are tried on the scenes of the quick one."""
        if budget != "medium" or self.plan is not QUICK:
            return self
        larger = copy(self)
        larger.plan = MEDIUM
        return larger

    @abstractmethod
    def default_size(self, longest: int) -> tuple[int, int]:
        """Return height and width of images whose longest side is ``longest``, as `write` takes them."""

    def rendered(self, plan: Plan) -> int:
        """Return the scenes or clips of a plan, for the progress bar."""
        return plan.train + plan.val

    def root(self, data_root: Path | None) -> Path:
        """Return the folder given, or the default set in the cache, rendered when it is not there yet.

        Two processes may ask at once: one renders, the other waits.

        Raises:
            DataError: the folder given is not in the layout.
            UsageError: the cache cannot be written.
        """
        if data_root is not None:
            return given_root(self.card, data_root)
        plan = self.plan
        scenes = f"{plan.train}+{plan.val}" + (f"-{plan.longest}px" if plan.longest else "")
        folder = cache_home() / "synth" / f"{self.name}-v{GENERATOR_VERSION}-seed{SEED}-{scenes}"
        if folder.is_dir():  # it appears complete or not at all, so that a cache that is only read is enough
            return folder
        with writing_cache(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    size = None if plan.longest is None else self.default_size(plan.longest)
                    with progress_bar(f"rendering {self.name}", self.rendered(plan)) as report:
                        try:
                            self.write(
                                folder,
                                seed=SEED,
                                train=plan.train,
                                val=plan.val,
                                size=size,
                                progress=lambda done, _: report(done),
                            )
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
