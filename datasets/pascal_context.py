"""PASCAL-Context (Mottaghi et al., CVPR 2014) in the five-task form of ASTMT (Maninis et al., CVPR 2019)."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files as resource_files
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace
from skimage.morphology import thin

from harness.data.card import Card, find_subset, load_card
from harness.data.dataset import Dataset, Reader, Resolved, Split
from harness.data.files import image_size, read_indices, read_mat, read_rgb
from harness.data.folder import FolderReader
from harness.data.labels import check_size, check_values, decode_normals
from harness.data.sample import Array
from harness.datasets.pascal_parts import draw_parts
from harness.errors import DataError
from harness.protocol import Protocol
from harness.tasks.base import IGNORE

_FOLDERS = {
    "image": ("JPEGImages", (".jpg",)),
    "semseg": ("semseg", (".png",)),
    "label_map": ("pascal-context/trainval", (".mat",)),
    "parts": ("human_parts", (".mat",)),
    "normals": ("normals_distill", (".png",)),
    "saliency": ("sal_distill", (".png",)),
}
"""Role of a file to its folder and suffix."""

_CLASSES = 21
_LABEL_MAP_CLASSES = 459
_SALIENT = 128
"""Smallest 8-bit value that is salient: v / 255 > 0.5."""


class PascalContextReader(FolderReader):
    """Reads one split of a PASCAL-Context folder; all derived labels are computed here, nothing is written."""

    build = "mat"
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"normals": ("normals", "label_map"), "boundary": ("label_map",)}

    def __init__(self, root: Path, split: Split) -> None:
        super().__init__(root, split, f"ImageSets/Context/{split}.txt", _FOLDERS)

    def files(self, image_id: str) -> Mapping[str, Path]:
        """Return the files of one image that are there.

        Roles: ``image``, ``semseg`` (VOC12's file where there is one), ``label_map`` (source of boundaries and of the
        normals' validity), ``parts``, ``normals``, ``saliency``.
        """
        found = dict(super().files(image_id))
        if "semseg" in found:
            name = found["semseg"].name
            voc = self.root / "semseg" / "VOC12" / name
            found["semseg"] = voc if voc.is_file() else self.root / "semseg" / "pascal-context" / name
        return found

    def boundary_regions(self, image_id: str) -> Array:
        """Return the map whose region borders are the reference boundaries of odsF: the label map of 459 classes.

        Returns:
            int32 [H, W].

        Raises:
            DataError: the file is missing, broken or of another size than the image.
        """
        files = self.files(image_id)
        label_map = _label_map(files["label_map"])
        check_size(label_map, image_size(files["image"]), files["label_map"])
        return label_map

    def decode(self, image_id: str, task: str) -> tuple[Array, Path]:
        """Decode one label; see `FolderReader.decode`."""
        files = self.files(image_id)
        match task:
            case "semseg":
                stored = read_indices(files["semseg"])  # 0..20, and 255 for void, as VOC stores them
                check_values(stored, files["semseg"], largest=_CLASSES - 1, also=(IGNORE,))
                return stored.astype(np.uint8), files["semseg"]
            case "parts":
                return draw_parts(files["parts"], image_size(files["image"])), files["parts"]
            case "saliency":
                return (read_indices(files["saliency"]) >= _SALIENT).astype(np.uint8), files["saliency"]
            case "boundary":
                return boundaries(_label_map(files["label_map"])), files["label_map"]
            case "normals":
                # Distilled everywhere, but trustworthy only on classes that the teacher had seen. [H, W, 3]
                normals = decode_normals(read_rgb(files["normals"], three_channels=True))
                label_map = _label_map(files["label_map"])
                check_size(label_map, (normals.shape[0], normals.shape[1]), files["label_map"])
                normals[~_valid_normals()[label_map]] = 0
                return normals, files["normals"]
        raise KeyError(task)


def _label_map(path: Path) -> Array:
    label_map = read_mat(path, "LabelMap")
    if label_map.ndim != 2 or label_map.dtype.kind not in "buif":
        raise DataError(f"{path}: LabelMap must hold one number per pixel, found shape {label_map.shape}")
    check_values(label_map, path, largest=_LABEL_MAP_CLASSES)
    return label_map.astype(np.int32)


def boundaries(label_map: Array) -> NDArray[np.uint8]:
    """Return the training boundaries of a label map: its non-zero Laplacian, thinned to one pixel.

    The border is mirrored without repeating its pixels. Boundary evaluation uses another map.

    Args:
        label_map: Integers [H, W].

    Returns:
        uint8 [H, W] of {0, 1}.
    """
    # Kernel [0 1 0; 1 -4 1; 0 1 0] with a mirrored border, as OpenCV's Laplacian of size 1. [H, W]
    changes = laplace(label_map, mode="mirror") != 0
    edges: NDArray[np.uint8] = thin(changes).astype(np.uint8)  # type: ignore[no-untyped-call]
    return edges


@cache
def _valid_normals() -> NDArray[np.bool_]:
    """Return whether each label-map id carries valid normals."""
    text = resource_files("harness.datasets.cards").joinpath("pascal-context-normals.json").read_text()
    valid = np.zeros(_LABEL_MAP_CLASSES + 1, bool)
    valid[json.loads(text)["normals_valid_labelmap_ids"]] = True
    return valid


def pascal_input_size(reader: Reader) -> tuple[int, int]:
    """Return the square padded input size: 512 once a side exceeds 256, else the longest side up to 16s.

    512x512 is what every published model uses. Only headers are read, and only until one is large enough.
    """
    # The published models take 512 x 512 whatever the images are.
    longest = 0
    for image_id in reader.ids:
        longest = max(longest, *image_size(reader.files(image_id)["image"]))
        if longest > 256:
            return 512, 512
    return padded_square(longest)


def padded_square(longest: int) -> tuple[int, int]:
    """Return the square of whole 16 x 16 patches that contains images with this longest side."""
    side = -(-longest // 16) * 16
    return side, side


class PascalContext(Dataset):
    """PASCAL-Context: semantic segmentation, human parts, saliency, normals and boundaries."""

    name = "pascal-context"
    nominal_input_size = (512, 512)
    tasks = load_card("pascal-context").task_specs()

    @property
    def card(self) -> Card:
        """Classes, splits, hashes, terms and links."""
        return load_card(self.name)

    def resolve(self, protocol: Protocol, root: Path) -> Resolved:
        """Return the conventions here: padding, and boundaries on the half of SEISM where its list is at hand.

        The sharing paper crops NYUD-v2 only. The half's 2498 ids are a random draw that comes with the SEISM
        tools; without the list, all of val is scored.
        """
        half = self.card.boundary_subset if protocol.boundary_set == "test-new" else None
        ids = find_subset(root, half) if half else None
        changes, warnings = {}, []
        of_boundaries: tuple[str, ...] = ()
        if protocol.geometry == "crop":
            changes["geometry"] = "pad"
            warnings.append("images are padded: the centre crop is for NYUD-v2 only")
        if ids is None:
            changes["boundary_set"] = "val"
        if half and ids is None:
            of_boundaries = (
                f"boundaries are scored on all of val: no list in {half.folder}/ holds the {half.count} ids "
                f"(md5 {half.md5}) that published values are from",
            )
        subsets = {} if ids is None else {"boundary": ids}
        return Resolved(protocol.model_copy(update=changes), subsets, tuple(warnings), {"boundary": of_boundaries})

    def reader(self, root: Path, split: Split) -> Reader:
        """Return the reader of one split.

        Raises:
            DataError: the folder is no PASCAL-Context folder.
        """
        return PascalContextReader(root, split)

    def input_size(self, reader: Reader) -> tuple[int, int]:
        """Return the padded (height, width) that contains every image; see `pascal_input_size`."""
        return pascal_input_size(reader)
