"""Rooms: a data set of one's own, in one file: `harness run -d rooms --plugin rooms.py --data-root DIR`."""

from pathlib import Path

import numpy as np

from harness.data.card import Card
from harness.data.dataset import Dataset, Reader, Split
from harness.data.files import read_indices, read_npy
from harness.data.folder import FolderReader
from harness.data.labels import check_values
from harness.data.sample import Array


class RoomsReader(FolderReader):
    """Reads ``images/<id>.jpg``, ``classes/<id>.png`` (0..2, 255 ignored) and ``depth/<id>.npy`` (metres)."""

    build = "jpg"

    def __init__(self, root: Path, split: Split) -> None:
        folders = {
            "image": ("images", (".jpg",)),
            "semseg": ("classes", (".png",)),
            "depth": ("depth", (".npy",)),
        }
        super().__init__(root, split, f"lists/{split}.txt", folders)

    def decode(self, image_id: str, task: str) -> tuple[Array, Path]:
        """Decode one label; missing files, wrong sizes and damage are named by what is called here."""
        path = self.files(image_id)[task]
        if task == "depth":
            return read_npy(path).astype(np.float32), path
        classes = read_indices(path)
        check_values(classes, path, largest=2, also=(255,))
        return classes.astype(np.uint8), path


class Rooms(Dataset):
    """Rooms with walls, floors and things."""

    name = "rooms"
    card = Card(
        name="rooms",
        title="Rooms",
        roots=("rooms",),  # names the folder is looked for under
        marker="lists",  # a folder inside it that identifies it
        tasks={"semseg": ("wall", "floor", "thing"), "depth": ()},
        deepest=10,
        terms="ours",
    )
    tasks = card.task_specs()

    def reader(self, root: Path, split: Split) -> Reader:
        """Return the reader of one split."""
        return RoomsReader(root, split)
