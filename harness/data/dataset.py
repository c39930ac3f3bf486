"""The contract of a data set plug-in."""

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from harness.data import Split as Split  # plug-ins import it from here
from harness.data.card import Card
from harness.data.files import image_size
from harness.data.locate import find_root
from harness.data.sample import Array
from harness.problem import TaskSpec
from harness.protocol import Protocol


class Reader(typing.Protocol):
    """Reads one split of one data set folder.

    Attributes:
        root: Folder of the data set.
        build: Name of the build that was recognised there, for example ``png-425x560``.
        split: ``train`` or ``val``.
        ids: Image ids in the order of the split list.

    A reader may also have ``absent(tasks)``, the tasks that its folder cannot serve and why, and ``sources(label)``,
    the roles of the files that a label is made of; `harness.data.folder.FolderReader` has both.
    """

    root: Path
    build: str
    split: Split
    ids: tuple[str, ...]

    def files(self, image_id: str) -> Mapping[str, Path]:
        """Return the file of the image and of every label source, by role."""

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Return the RGB image, uint8 [H, W, 3].

        Raises:
            DataError: the file is missing or broken.
        """

    def label(self, image_id: str, task: str) -> Array:
        """Return the label of one task as `harness.data.sample.Sample` describes it.

        Raises:
            DataError: the file is missing, broken or of another shape than the image.
        """

    def boundary_regions(self, image_id: str) -> Array:
        """Return the map [H, W] whose region borders are the reference boundaries of odsF.

        Raises:
            DataError: the file is missing, broken or of another shape than the image.
        """


@dataclass(frozen=True)
class Resolved:
    """The conventions of a protocol that apply to one folder of one data set.

    Attributes:
        protocol: The conventions that apply.
        subsets: Task to the only images it is scored on; a task that is absent is scored on the whole split.
        warnings: What a reader of the results should know.
        task_warnings: Task to what a reader of its results should know.
    """

    protocol: Protocol
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    task_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Dataset(ABC):
    """A data set plug-in, found by the entry point group ``harness.datasets`` or in a file given with ``--plugin``.

    A plug-in defines ``name``, ``card``, ``tasks`` and `reader`; `harness.data.folder.FolderReader` does most of a
    reader's work where each image has its files in folders.
    """

    name: ClassVar[str]
    synthetic: ClassVar[bool] = False
    nominal_input_size: ClassVar[tuple[int, int] | None] = None
    """Padded (height, width) of the build that most published tables use, known without the data; None for none."""
    tasks: tuple[TaskSpec, ...]
    """Tasks in the order of the papers' tables."""
    variant: str = ""
    """What `under` changed in the labels; empty for the labels of the card."""

    @property
    @abstractmethod
    def card(self) -> Card:
        """Classes, splits, hashes, terms and links."""

    def under(self, protocol: Protocol) -> Self:
        """Return the data set with the label spaces of a protocol; this one where it has no other."""
        return self

    def for_budget(self, budget: str) -> Self:
        """Return the data set that a budget trains and scores on where no folder is named: this one.

        Rendered sets have other scenes for other budgets.
        """
        return self

    def resolve(self, protocol: Protocol, root: Path) -> Resolved:
        """Return the conventions made for single data sets that apply to this one.

        By default boundaries are scored on the whole split, for only PASCAL-Context has a fixed half of it.

        Args:
            protocol: As it was asked for.
            root: Folder of the data set.
        """
        return Resolved(protocol.model_copy(update={"boundary_set": "val"}))

    def root(self, data_root: Path | None) -> Path:
        """Return the folder the data set is read from; see `harness.data.locate.find_root`.

        Args:
            data_root: The folder itself or one that contains it; None for the default places.

        Raises:
            DataError: it is not there; the message says where it was looked for, the expected layout,
                how to fetch it and under which terms.
        """
        return find_root(self.card, data_root)

    @abstractmethod
    def reader(self, root: Path, split: Split) -> Reader:
        """Return the reader of one split.

        Raises:
            DataError: the folder is not a known build of this data set.
        """

    def input_size(self, reader: Reader) -> tuple[int, int]:
        """Return the padded (height, width) a model receives under the pad geometry.

        By default whole patches of 16 x 16 that contain every image of the split; only headers are read.

        Raises:
            DataError: an image is missing or broken.
        """
        sizes = [image_size(reader.files(image_id)["image"]) for image_id in reader.ids]
        height, width = (-(-max(sides) // 16) * 16 for sides in zip(*sizes, strict=True))
        return height, width


class SyntheticDataset(Dataset):
    """A data set that can be written from a seed, in the layout of a real one."""

    synthetic = True

    @abstractmethod
    def write(
        self,
        root: Path,
        *,
        seed: int,
        train: int,
        val: int,
        size: tuple[int, int] | None = None,
        clips: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Render scenes and write them to ``root``, which must not exist or be empty.

        Args:
            root: Folder to write; it appears complete or not at all.
            seed: Everything follows from it; the same seed gives the same bytes.
            train: Scenes of the training split.
            val: Scenes of the validation split.
            size: (height, width) in pixels; None for the default of the data set.
            clips: Video clips to write next to the still images.
            progress: Called with (done, total) after each scene.
        """
