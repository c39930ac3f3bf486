"""Reading the files of a data set folder; whatever is wrong with one becomes a `DataError` that names it."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from harness.data.sample import Array
from harness.errors import DataError

# What the readers of PIL and NumPy raise on damaged files.
DAMAGE = (OSError, EOFError, SyntaxError, ValueError, TypeError, IndexError, struct.error, zlib.error)


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; restore it from the data set's archive") from None
    except PermissionError:
        raise DataError(f"{path}: the file may not be read; check its permissions") from None
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: broken {kind} file ({error}); restore it from the archive") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file from its header.

    Raises:
        DataError: the file is missing or no image.
    """
    with _reading(path, "image"), Image.open(path) as image:
        return image.height, image.width


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return an image file as RGB, uint8 [H, W, 3].

    Raises:
        DataError: the file is missing or broken.
    """
    with _reading(path, "image"), Image.open(path) as image:
        return np.array(image.convert("RGB"))


def read_indices(path: Path) -> Array:
    """Return a single-channel image file as its stored integers, [H, W]; a palette is not applied.

    Raises:
        DataError: the file is missing, broken or has several channels.
    """
    with _reading(path, "image"), Image.open(path) as image:
        values = np.array(image)
    if values.ndim != 2:
        raise DataError(f"{path}: a label image has one channel, this one has {values.shape[2]}")
    return values.astype(np.uint8) if values.dtype == bool else values


def read_npy(path: Path) -> Array:
    """Return the numeric array of a .npy file; pickled objects are refused.

    Raises:
        DataError: the file is missing, broken or holds something other than numbers.
    """
    with _reading(path, ".npy"):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise DataError(f"{path}: holds no plain array of numbers")
    return array


def read_mat(path: Path, variable: str) -> Array:
    """Return one variable of a MATLAB v5 file.

    Raises:
        DataError: the file is missing or broken, or has no such variable.
    """
    with _reading(path, ".mat"):
        data = path.read_bytes()  # so that an error below is the content's, not the file system's
    try:
        content: dict[str, Any] = scipy.io.loadmat(cast(Any, io.BytesIO(data)), variable_names=[variable])
    except Exception as error:  # SciPy's parser lets almost any exception out on damaged input
        raise DataError(f"{path}: broken .mat file ({error}); restore it from the archive") from error
    if variable not in content:
        raise DataError(f"{path}: the .mat file has no variable {variable!r}")
    array: Array = content[variable]
    return array


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a split list, one per line; blank lines are skipped.

    Raises:
        DataError: the list is missing, empty, names an id twice or holds something that is no file stem.
    """
    with _reading(path, "text"):
        ids = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not ids:
        raise DataError(f"{path}: the split list is empty; restore it from the archive")
    if len(set(ids)) != len(ids):
        twice = next(image_id for i, image_id in enumerate(ids) if image_id in ids[:i])
        raise DataError(f"{path}: id {twice!r} is listed twice")
    for image_id in ids:
        if Path(image_id).name != image_id:
            raise DataError(f"{path}: {image_id!r} is no image id")
    return ids
