"""The base of readers of a data set kept as a folder of files per image."""

import glob
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Split
from harness.data.files import image_size, read_ids, read_rgb
from harness.data.labels import check_size
from harness.data.sample import Array
from harness.errors import DataError
from harness.problem import BOUNDARY_TRUTH


class FolderReader(ABC):
    """A `harness.data.dataset.Reader` of one split of a folder.

    Folders of labels may be missing: the tasks that need them are `absent`, the others can be used.

    Attributes:
        needs: Task to the roles of the files that its label is made of; a task that is not named needs the file of
            its own name.
        suffixes: Role to the suffix of its files as it is spelled on this disk; only of roles that are there.

    Args:
        root: Folder of the data set.
        split: ``train`` or ``val``.
        ids_file: The split's list, relative to ``root``.
        folders: Role (``image`` and those of labels) to its folder and the suffixes that its files may have.

    Raises:
        DataError: there are no images, or the list is missing or malformed.
    """

    build: str
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(
        self, root: Path, split: Split, ids_file: str, folders: Mapping[str, tuple[str, tuple[str, ...]]]
    ) -> None:
        self.root = root
        self.split: Split = split
        self.ids = read_ids(root / ids_file)
        self.suffixes: dict[str, str] = {}
        self._folders = {role: folder for role, (folder, _) in folders.items()}
        self._missing: dict[str, str] = {}  # role to reason
        for role, (folder, suffixes) in folders.items():
            try:
                suffix, reason = _find_suffix(root, folder, suffixes, self.ids[0])
            except OSError as error:
                suffix, reason = "", f"the folder {folder}/ cannot be read ({error.strerror})"
            if suffix:
                self.suffixes[role] = suffix
            elif role == "image":
                raise DataError(f"{root}: {reason}; unpack the archive again")
            else:
                self._missing[role] = reason

    def sources(self, label: str) -> tuple[str, ...]:
        """Return the roles of the files that a label is made of: of a task, or the reference boundaries of odsF."""
        task = "boundary" if label == BOUNDARY_TRUTH else label
        return self.needs.get(task, (task,))

    def absent(self, tasks: Iterable[str]) -> dict[str, str]:
        """Return the tasks among ``tasks`` that this folder cannot serve, and why."""
        return {
            task: "; ".join(self._missing[role] for role in self.sources(task) if role in self._missing)
            for task in tasks
            if any(role in self._missing for role in self.sources(task))
        }

    def files(self, image_id: str) -> Mapping[str, Path]:
        """Return the file of the image (role ``image``) and of every label source that is there, by role."""
        return {role: self.root / self._folders[role] / f"{image_id}{suffix}" for role, suffix in self.suffixes.items()}

    @abstractmethod
    def decode(self, image_id: str, task: str) -> tuple[Array, Path]:
        """Decode one label.

        Returns:
            The label as `harness.data.sample.Sample` describes it, and the file to blame if its size is not that of
            the image.
        """

    def boundary_regions(self, image_id: str) -> Array:
        """Return the map [H, W] whose region borders are the reference boundaries of odsF: the edge map itself.

        Raises:
            DataError: the file is missing or broken.
        """
        return self.label(image_id, "boundary")

    def size(self, image_id: str) -> tuple[int, int]:
        """Return (height, width) of an image from its header.

        Raises:
            DataError: the file is missing or no image.
        """
        return image_size(self.files(image_id)["image"])

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Return the RGB image, uint8 [H, W, 3].

        Raises:
            DataError: the file is missing or broken.
        """
        return read_rgb(self.files(image_id)["image"])

    def label(self, image_id: str, task: str) -> Array:
        """Return the label of one task as `harness.data.sample.Sample` describes it.

        Raises:
            DataError: a file is missing, broken, of another size than the image, or contains wrong values.
            KeyError: the data set has no such task.
        """
        if reason := self.absent([task]).get(task):
            raise DataError(f"{self.root}: {task} cannot be read, {reason}; unpack the archive again")
        label, source = self.decode(image_id, task)
        check_size(label, self.size(image_id), source)
        return label


def _find_suffix(root: Path, folder: str, suffixes: tuple[str, ...], first: str) -> tuple[str, str]:
    """Return the suffix of the files in a folder, as it is spelled there, or an empty one and the reason.

    The file of the first id decides; where it is missing, any other file of the folder does. Cameras and Windows
    write suffixes in capitals, and hidden files (``._0001.png`` of macOS) are no labels.
    """
    place = root / folder
    if not place.is_dir():
        return "", f"the folder {folder}/ is missing"
    for suffix in suffixes:
        # Beside the folder itself the folders in it: PASCAL-Context keeps its semantics in two.
        if (place / f"{first}{suffix}").is_file() or any(place.glob(f"*/{glob.escape(first)}{suffix}")):
            return suffix, ""
    names = sorted(path.name for path in place.rglob("*") if not path.name.startswith(".") and path.is_file())
    for known in suffixes:
        for name in names:
            if name.lower().endswith(known):
                return Path(name).suffix, ""
    found = f"; it holds {names[0]!r}" + (f" and {len(names) - 1} more" if names[1:] else "") if names else ""
    return "", f"{folder}/ holds no {' or '.join(suffixes)} file{found}"
