"""File formats of predictions: those the harness writes, and those of published code bases."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.files import read_indices, read_mat, read_npy, read_rgb
from harness.data.labels import decode_normals
from harness.data.sample import Array
from harness.data.transforms import Floats
from harness.errors import DataError


@dataclass(frozen=True)
class Format:
    """Format of the predictions of one task.

    Attributes:
        folders: Names its folder goes by: the harness's, then those of ASTMT, MTI-Net, ATRC and InvPT.
        read: File suffix to reader, the most exact first; a reader returns [H, W] or [H, W, 3].
        write: Returns the bytes of a map [C, H, W], in the format of the first suffix.
        smooth: Whether maps are resized bilinearly; class indices are not.
    """

    folders: tuple[str, ...]
    read: dict[str, Callable[[Path], Array]]
    write: Callable[[Floats], bytes]
    smooth: bool = True

    @property
    def suffix(self) -> str:
        """The suffix of written files."""
        return next(iter(self.read))


def read_prediction(task: str, path: Path) -> Floats:
    """Return a saved prediction as `harness.tasks.base.Task.decode` gives it, [C, H, W].

    Raises:
        DataError: the file is broken, or of a kind that cannot hold this task.
    """
    try:
        values = format_of(task).read[path.suffix.lower()](path)
    except DataError as error:
        if error.__cause__ is None:
            raise
        raise DataError(f"{path}: cannot be read ({error.__cause__})") from error
    if not values.size:
        raise DataError(f"{path}: holds no pixel (shape {values.shape})")
    planes = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
    return np.ascontiguousarray(planes, np.float32)


def _read_bytes(path: Path) -> NDArray[np.uint8]:
    values = read_indices(path)
    if values.dtype != np.uint8:
        raise DataError(f"{path}: expected 8 bits per pixel, found {values.dtype}")
    return values


def _read_probability(path: Path) -> Floats:
    return _read_bytes(path).astype(np.float32) / np.float32(255)


def _read_rgb_normals(path: Path) -> Floats:
    return decode_normals(read_rgb(path, three_channels=True))


def _read_normals(path: Path) -> Array:
    values = _finite(read_npy(path).squeeze(), path)
    if values.ndim == 3 and values.shape[2] != 3 and values.shape[0] == 3:
        values = np.moveaxis(values, 0, 2)
    if values.ndim != 3 or values.shape[2] != 3:
        raise DataError(f"{path}: expected three numbers per pixel, found shape {values.shape}")
    return values


def _read_depth_npy(path: Path) -> Array:
    return _metres(read_npy(path), path)


def _read_depth_mat(path: Path) -> Array:
    return _metres(read_mat(path, "depth"), path)


def _read_depth_png(path: Path) -> Array:
    millimetres = read_indices(path)
    if millimetres.dtype.itemsize < 2:
        raise DataError(f"{path}: a depth PNG has 16 bits and holds millimetres, this one has 8")
    return _metres(millimetres / 1000, path)


def _metres(values: Array, path: Path) -> Array:
    depth = _finite(values.squeeze(), path)
    if depth.ndim != 2:
        raise DataError(f"{path}: expected one number per pixel, found shape {values.shape}")
    return depth


def _finite(values: Array, path: Path) -> Array:
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise DataError(f"{path}: every value must be a finite number")
    return values


def _png(planes: Floats) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(planes[0].astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _probability_png(planes: Floats) -> bytes:
    # Cut off, not rounded, in float32: the field's habit, and what the boundary meter does with its own maps.
    return _png(planes * np.float32(255))


def _npy(planes: Floats) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, planes[0] if len(planes) == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, 2)))
    return buffer.getvalue()


FORMATS = {
    "semseg": Format(("semseg",), {".png": _read_bytes}, _png, smooth=False),
    "parts": Format(("parts", "human_parts"), {".png": _read_bytes}, _png, smooth=False),
    "saliency": Format(("saliency", "sal"), {".png": _read_probability}, _probability_png),
    "normals": Format(("normals",), {".npy": _read_normals, ".png": _read_rgb_normals}, _npy),
    "depth": Format(("depth",), {".npy": _read_depth_npy, ".mat": _read_depth_mat, ".png": _read_depth_png}, _npy),
    "boundary": Format(("boundary", "edge"), {".png": _read_probability}, _probability_png),
}
"""Task name to the format of its predictions."""


def format_of(task: str) -> Format:
    """Return the format of a task's predictions; those of a plug-in's task are NumPy arrays of numbers."""
    return FORMATS.get(task) or Format((task,), {".npy": lambda path: _finite(read_npy(path), path)}, _npy)
