"""The base of readers of a data set kept as a folder of files per image."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Split
from harness.data.files import image_size, read_ids, read_rgb
from harness.data.labels import check_size
from harness.data.sample import Array
from harness.errors import DataError


class FolderReader(ABC):
    """A `harness.data.dataset.Reader` of one split of a folder.

    Args:
        root: Folder of the data set.
        split: ``train`` or ``val``.
        ids_file: The split's list, relative to ``root``.
        folders: Sub-folders that must exist.

    Raises:
        DataError: a folder is missing, or the list is missing or malformed.
    """

    build: str

    def __init__(self, root: Path, split: Split, ids_file: str, folders: tuple[str, ...]) -> None:
        for folder in folders:
            if not (root / folder).is_dir():
                raise DataError(f"{root}: the folder {folder}/ is missing; unpack the archive again")
        self.root = root
        self.split: Split = split
        self.ids = read_ids(root / ids_file)

    @abstractmethod
    def files(self, image_id: str) -> Mapping[str, Path]:
        """Return the file of the image (role ``image``) and of every label source, by role."""

    @abstractmethod
    def _label(self, image_id: str, task: str) -> tuple[Array, Path]:
        """Return the decoded label and the file that gives its size."""

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
            DataError: a file is missing, broken, of another size than the image, or holds wrong values.
            KeyError: the data set has no such task.
        """
        label, source = self._label(image_id, task)
        check_size(label, self.size(image_id), source)
        return label
