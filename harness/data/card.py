"""The card of a data set: description, splits and their digests, sources and terms."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from harness.problem import TaskSpec

_MOST_LIST_BYTES = 1 << 25  # 32 MiB, a million ids


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Link(_Part):
    """One place an archive was published at."""

    url: str
    state: Literal["alive", "dead", "unknown"] = Field(description="What is known of the link, not a live check.")
    direct: bool = Field(default=False, description="The address answers with the archive itself, not a page.")


class Archive(_Part):
    """One published archive of a data set."""

    file: str = Field(description="File name of the archive.")
    root: str = Field(description="Folder that the archive unpacks to.")
    build: str = Field(description="Build that it contains.")
    links: tuple[Link, ...]
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Null where no publisher or trusted copy gave one."
    )
    note: str = ""


class SplitCard(_Part):
    """One split as published."""

    ids: str = Field(description="The list of ids, relative to the data set's folder.")
    count: int = Field(gt=0)
    md5: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{32}$",
        description="Digest of the ids as `id_list_md5` computes it; null where it is not known.",
    )
    sorted_md5: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{32}$",
        description="The same digest of the sorted ids, where the ids are known but not their published order.",
    )


class SubsetCard(_Part):
    """A fixed part of the validation split, recognised by its list."""

    folder: str = Field(description="Where a list of its ids is looked for, relative to the data set's folder.")
    count: int = Field(gt=0)
    md5: str = Field(pattern="^[0-9a-f]{32}$", description="Digest of the ids as `id_list_md5` computes it.")


class Card(_Part):
    """Everything about a data set that is not its bytes."""

    name: str
    title: str
    description: str = ""
    paper: str = "none"
    source: str = Field(default="unknown", description="Where the data come from and who prepared the labels.")
    homepage: str | None = None
    roots: tuple[str, ...] = Field(min_length=1, description="Folder names the data set is known under.")
    marker: str = Field(description="A path inside the folder that identifies the data set.")
    layout: str = Field(default="", description="The expected files, one line each.")
    builds: dict[str, str] = Field(default_factory=dict, description="Known builds and their differences.")
    tasks: dict[str, tuple[str, ...]] = Field(
        description="Tasks in the order of the papers' tables, with the class names of label tasks."
    )
    boundary_tolerance: float = Field(
        default=0.0075, gt=0, description="How far a boundary match may lie, as a fraction of the image's diagonal."
    )
    deepest: float = Field(default=80, gt=0, description="Metres that the depth sensor can measure.")
    splits: dict[Literal["train", "val"], SplitCard] | None = Field(
        default=None, description="The published splits; null where they follow from a seed."
    )
    boundary_subset: SubsetCard | None = Field(
        default=None, description="The images that boundaries are scored on; null for the whole split."
    )
    archives: tuple[Archive, ...] = ()
    stand_ins: tuple[str, ...] = Field(default=(), description="Data sets of the same kind that need no download.")
    terms: str
    citation: str = "none"

    def task_specs(self) -> tuple[TaskSpec, ...]:
        """Return the tasks as models see them."""
        return tuple(
            TaskSpec(task, len(names) or None, names, self.boundary_tolerance if task == "boundary" else None)
            for task, names in self.tasks.items()
        )


def load_card(name: str) -> Card:
    """Return the card kept at ``datasets/cards/<name>.yaml``.

    Raises:
        FileNotFoundError: there is no such card.
        pydantic.ValidationError: the card is malformed.
    """
    text = files("harness.datasets.cards").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return Card.model_validate(yaml.safe_load(text))


def id_list_md5(ids: Iterable[str]) -> str:
    """Return the digest of a list of ids: md5 of the ids, each followed by a newline."""
    text = "".join(f"{image_id}\n" for image_id in ids)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def split_fault(card: Card, split: Literal["train", "val"], ids: Sequence[str]) -> str | None:
    """Say how a list of ids differs from the published split; None where it does not, or none was published."""
    if card.splits is None:
        return None
    published = card.splits[split]
    expected = published.md5 or published.sorted_md5
    found = id_list_md5(ids if published.md5 else sorted(ids))
    if len(ids) == published.count and expected in (None, found):
        return None
    if expected is None:
        return f"the list is not the published split: {len(ids)} of {published.count} ids"
    digests = f"{'md5' if published.md5 else 'md5 of the sorted ids'} {found}, published {expected}"
    if id_list_md5(sorted(ids)) == expected:
        return f"the list holds the published ids in another order ({digests})"
    return f"the list is not the published split: {len(ids)} of {published.count} ids, other md5 ({digests})"


def overlap_fault(train: Sequence[str], val: Sequence[str]) -> str | None:
    """Say which training ids are validation ids too; None where there are none."""
    both = sorted(set(train) & set(val))
    if not both:
        return None
    named = ", ".join(both[:3]) + (f" and {len(both) - 3} more" if len(both) > 3 else "")
    return f"{len(both)} of {len(train)} training ids are validation ids too ({named}): scores would be of images seen"


def find_subset(root: Path, subset: SubsetCard) -> frozenset[str] | None:
    """Return the ids of a subset from whichever list in the data set's folder has them; None if none does."""
    for path in sorted((root / subset.folder).rglob("*.txt")):
        if not path.is_file() or path.stat().st_size > _MOST_LIST_BYTES:  # a pipe of this name would block
            continue
        ids = path.read_text(encoding="utf-8", errors="replace").split()
        if len(ids) == subset.count and id_list_md5(ids) == subset.md5:
            return frozenset(ids)
    return None
