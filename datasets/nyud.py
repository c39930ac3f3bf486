"""NYUD-v2 (Silberman et al., ECCV 2012) in the builds that multi-task papers use."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.data.card import Card, load_card
from harness.data.dataset import Dataset, Reader, Split
from harness.data.files import image_size, read_indices, read_mat, read_npy, read_rgb
from harness.data.folder import FolderReader
from harness.data.labels import check_size, check_values, decode_normals
from harness.data.plausibility import DEEPEST, depth_fault
from harness.data.sample import Array
from harness.errors import DataError
from harness.protocol import Protocol
from harness.tasks.base import IGNORE

_CLASSES = 40


@dataclass(frozen=True)
class _Source:
    """Folder and file types of one kind of file."""

    folder: str
    suffixes: tuple[str, ...]
    variable: str = ""


_SOURCES = {
    "image": _Source("images", (".png", ".jpg")),
    "semseg": _Source("segmentation", (".png", ".mat"), "segmentation"),
    "depth": _Source("depth", (".npy", ".mat"), "depth"),
    "normals": _Source("normals", (".png", ".npy", ".jpg")),
    "boundary": _Source("edge", (".png", ".npy")),
}

_FAMILIES = {
    "png": {"image": ".png", "semseg": ".png", "depth": ".npy", "normals": ".png", "boundary": ".png"},
    "npy": {"image": ".jpg", "semseg": ".png", "depth": ".npy", "normals": ".npy", "boundary": ".npy"},
    "mat": {"image": ".jpg", "semseg": ".mat", "depth": ".mat", "normals": ".jpg", "boundary": ".png"},
}
"""File types of ATRC (Bruggemann et al., ICCV 2021), MTI-Net (Vandenhende et al., ECCV 2020), ASTMT (Maninis et al.,
CVPR 2019)."""

_PADDED = {(425, 560): (448, 576), (480, 640): (480, 640)}
"""Input sizes of the published models for the published image sizes."""


class NYUDReader(FolderReader):
    """Reads one split of a NYUD-v2 folder.

    The build is recognised by the file types and the size of the first image: ``png-425x560`` (ATRC, InvPT),
    ``npy-480x640`` (MTI-Net) and ``mat`` (ASTMT); other sizes are named in the same way, for example ``png-106x140``.

    Args:
        root: Folder of the data set.
        split: ``train`` or ``val``.
        background: Unlabelled pixels are class 0 of 41 (ASTMT), instead of ignored next to 40 classes.
    """

    def __init__(self, root: Path, split: Split, background: bool = False) -> None:
        folders = {role: (source.folder, source.suffixes) for role, source in _SOURCES.items()}
        super().__init__(root, split, f"gt_sets/{split}.txt", folders)
        self.background = background
        found = {role: suffix.lower() for role, suffix in self.suffixes.items()}
        families = [name for name, kinds in _FAMILIES.items() if all(kinds[role] == found[role] for role in found)]
        if not families:
            listed = ", ".join(f"{_SOURCES[role].folder}/*{suffix}" for role, suffix in found.items())
            raise DataError(
                f"{root}: no known build of NYUD-v2 has {listed}; do not mix archives, unpack one into an empty folder"
            )
        self._size = height, width = self.size(self.ids[0])
        self.build = families[0] if families[0] == "mat" else f"{families[0]}-{height}x{width}"

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Return the RGB image, uint8 [H, W, 3].

        Raises:
            DataError: the file is missing, broken or not as large as the first one.
        """
        image = super().image(image_id)
        check_size(image, self._size, self.files(image_id)["image"])
        return image

    def decode(self, image_id: str, task: str) -> tuple[Array, Path]:
        """Decode one label; see `FolderReader.decode`."""
        path = self.files(image_id)[task]
        if task == "semseg":
            return read_semseg(path, self.background), path
        return _DECODERS[task](path), path


def _values(path: Path, task: str) -> Array:
    """Return the stored numbers; a trailing axis of length one is dropped."""
    if path.suffix.lower() == ".npy":
        values = read_npy(path)
    elif path.suffix.lower() == ".mat":
        values = read_mat(path, _SOURCES[task].variable)
    else:
        values = read_indices(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise DataError(f"{path}: expected one number per pixel, found {values.dtype} of shape {values.shape}")
    return values


def read_semseg(path: Path, background: bool) -> NDArray[np.uint8]:
    """Return classes 0..39, or 0..40 with the background; the stored 0 is unlabelled."""
    stored = _values(path, "semseg")
    check_values(stored, path, largest=_CLASSES)
    label = stored.astype(np.uint8)
    if background:
        return label
    label -= 1  # 0 wraps around to 255, the value to ignore
    assert np.iinfo(np.uint8).max == IGNORE
    return label


def read_depth(path: Path) -> NDArray[np.float32]:
    """Return depth in metres, 0 where it is unknown, [H, W]."""
    depth = _values(path, "depth").astype(np.float32)
    if not np.isfinite(depth).all() or (depth < 0).any():
        raise DataError(f"{path}: a depth must be finite and not negative (0 where it is unknown)")
    # More than half of the valid pixels deeper than anything that is scored: counted, for a median takes 30 times
    # as long, and the numbers for the message are looked up only then.
    if 2 * np.count_nonzero(depth > DEEPEST) > np.count_nonzero(depth):
        fault = depth_fault(float(np.median(depth[depth > 0])), float(depth.max()))
        raise DataError(f"{path}: {fault}")
    return depth


def read_normals(path: Path) -> NDArray[np.float32]:
    """Return unit vectors, the zero vector where they are unknown, [H, W, 3]."""
    if path.suffix.lower() != ".npy":
        return decode_normals(read_rgb(path, three_channels=True))
    normals = read_npy(path).astype(np.float32)
    if normals.ndim != 3 or normals.shape[2] != 3:
        raise DataError(f"{path}: expected three numbers per pixel, found shape {normals.shape}")
    if not np.isfinite(normals).all():
        raise DataError(f"{path}: a normal must be finite (the zero vector where it is unknown)")
    return normals


def read_boundary(path: Path) -> NDArray[np.uint8]:
    """Return boundaries as {0, 1}, [H, W]; the builds store them as 255 in images and as 1 in arrays."""
    stored = _values(path, "boundary")
    on = 1 if path.suffix.lower() == ".npy" else 255
    if stored.max() == 256 - on:  # the other build's value: 1 in an image, 255 in .npy
        raise DataError(f"{path}: edges are 0 and {on} in a {path.suffix} file, this one holds {stored.max()}")
    check_values(stored, path, largest=0, also=(on,))
    label: NDArray[np.uint8] = (stored == on).astype(np.uint8)
    return label


_DECODERS: dict[str, Callable[[Path], Array]] = {
    "depth": read_depth,
    "normals": read_normals,
    "boundary": read_boundary,
}


def nyud_input_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the padded input size for images of ``size``.

    425x560 gives 448x576 (InvPT, Ye and Xu, ECCV 2022) and 480x640 stays; any other size is rounded up to
    multiples of 16.
    """
    height, width = size
    return _PADDED.get(size, (-(-height // 16) * 16, -(-width // 16) * 16))


class NYUD(Dataset):
    """NYUD-v2: semantic segmentation, depth, normals and boundaries of indoor scenes."""

    name = "nyud"
    nominal_input_size = (448, 576)
    tasks = load_card("nyud").task_specs()

    @property
    def card(self) -> Card:
        """Classes, splits, hashes, terms and links."""
        return load_card(self.name)

    def under(self, protocol: Protocol) -> Self:
        """Return the data set with 40 classes, or with 41 of which the first is the background (ASTMT)."""
        if protocol.nyud_classes == 40:
            return self
        variant = copy(self)
        variant.variant = "41 classes"
        variant.tasks = tuple(
            replace(spec, num_classes=_CLASSES + 1, class_names=("background", *spec.class_names))
            if spec.name == "semseg"
            else spec
            for spec in self.tasks
        )
        return variant

    def reader(self, root: Path, split: Split) -> Reader:
        """Return the reader of one split.

        Raises:
            DataError: the folder is no known build of NYUD-v2.
        """
        return NYUDReader(root, split, background=bool(self.variant))

    def input_size(self, reader: Reader) -> tuple[int, int]:
        """Return the padded (height, width) for the size of the first image; see `nyud_input_size`."""
        return nyud_input_size(image_size(reader.files(reader.ids[0])["image"]))
