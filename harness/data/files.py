"""Reading the files of a data set folder; whatever is wrong with one becomes a `DataError` that names it."""

import codecs
import re
import stat
import struct
import tokenize
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.mat import load_mat
from harness.data.sample import Array
from harness.errors import DataError

DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    struct.error,
    zlib.error,
    tokenize.TokenError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Exceptions that PIL, NumPy and the standard library raise on damaged files."""

IMAGE_FORMATS = ("PNG", "JPEG")
"""The only decoders that images are given to; Pillow has fifty more, some of which start other programs."""

MOST_PIXELS = 1 << 24
"""4096 x 4096: above the images of every data set, and far below what makes a small file fill the memory."""

MOST_BYTES = 1 << 28
"""256 MiB: 4096 x 4096 numbers of 16 bytes. A file with a hole may promise any size without having it."""

_MOST_AXES = 4
_MOST_LIST_BYTES = 1 << 25  # 32 MiB, a million ids
_LONGEST_ID = 200  # bytes; file systems allow 255 for a name with its suffix
_LABEL_SUFFIXES = (".png", ".jpg", ".jpeg", ".mat", ".npy")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a `DataError`; refuse what is no regular file.

    Opening a named pipe would wait for ever, and a device may never end.

    Args:
        path: The file.
        kind: What it should be, for the message.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is no regular file (a folder, pipe, socket or device); put the {kind} file there")
        if status.st_size > MOST_BYTES:
            raise DataError(f"{path}: {status.st_size} bytes are too many for the {kind} file of one image")
        yield
    except FileNotFoundError:
        # Another spelling of its name is the likeliest cause.
        try:
            near = [other.name for other in path.parent.iterdir() if other.name.lower() == path.name.lower()]
        except OSError:
            near = []
        remedy = f", but {near[0]} is there; rename it" if near else "; restore it from the data set's archive"
        raise DataError(f"{path}: the file is missing{remedy}") from None
    except PermissionError:
        raise DataError(f"{path}: the file may not be read; check its permissions") from None
    except DAMAGE as error:
        raise DataError(f"{path}: broken {kind} file ({_first_line(error)}); restore it from the archive") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def open_image(path: Path, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Open a PNG or JPEG image without decoding it yet; the size in its header is checked first.

    Raises:
        DataError: the file is missing, broken, of another format or larger than ``most_pixels``.
    """
    with reading(path, "image"), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > most_pixels:
                raise DataError(
                    f"{path}: an image of {image.height}x{image.width} has more than the {most_pixels} pixels that "
                    f"are read; reduce it"
                )
            yield image


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file from its header.

    Raises:
        DataError: the file is missing or no image.
    """
    with open_image(path) as image:
        return image.height, image.width


def read_rgb(path: Path, *, three_channels: bool = False) -> NDArray[np.uint8]:
    """Return an image file as RGB, uint8 [H, W, 3].

    Args:
        path: The file.
        three_channels: Refuse grey images, where the channels are three different numbers: normals.

    Raises:
        DataError: the file is missing or broken, or has one channel where three are needed.
    """
    with open_image(path) as image:
        if three_channels and image.mode not in ("RGB", "RGBA", "P"):
            raise DataError(
                f"{path}: holds one channel (mode {image.mode}), but normals need three, x, y and z as 8-bit RGB"
            )
        return np.array(image.convert("RGB"))


def read_indices(path: Path) -> Array:
    """Return a single-channel image file as its stored integers, [H, W]; a palette is not applied.

    Raises:
        DataError: the file is missing, broken or has several channels.
    """
    with open_image(path) as image:
        values = np.array(image)  # of a palette image the indices; bool for one bit, int32 for 16
    if values.ndim != 2:
        raise DataError(f"{path}: a label image has one channel, this one has {values.shape[2]}")
    return values.astype(np.uint8) if values.dtype == bool else values


def read_npy(path: Path) -> Array:
    """Return the numeric array of a .npy file; pickled objects are refused.

    The header is checked against the size of the file before any memory is reserved.

    Raises:
        DataError: the file is missing, broken or contains something other than numbers.
    """
    with reading(path, ".npy"), path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError("pickled objects are not loaded")
        if dtype.kind not in "buif":
            raise DataError(f"{path}: holds no plain array of numbers")
        if len(shape) > _MOST_AXES or min(shape, default=1) < 0:
            raise ValueError(f"an array of shape {shape}")
        # Only now is the size of the file known to be enough, and memory reserved.
        start = file.tell()
        held = file.seek(0, 2) - start
        if prod(shape) * dtype.itemsize > held:
            raise ValueError(f"the header promises {prod(shape) * dtype.itemsize} bytes, {held} are there")
        if not prod(shape):
            raise ValueError(f"an array of shape {shape} holds no value")
        file.seek(start)
        values = np.fromfile(file, dtype, prod(shape))
    return values.reshape(shape, order="F" if by_column else "C")


def read_mat(path: Path, variable: str) -> Array:
    """Return one variable of a MATLAB v4 or v5 file.

    Raises:
        DataError: the file is missing or broken, or has no such variable.
    """
    with reading(path, ".mat"):
        data = path.read_bytes()
    try:
        array = load_mat(data, variable)
    except Exception as error:  # SciPy's parser lets almost any exception out on damaged input
        raise DataError(f"{path}: broken .mat file ({_first_line(error)}); restore it from the archive") from error
    if array is None:
        raise DataError(f"{path}: the .mat file has no variable {variable!r}")
    if not array.size:
        raise DataError(f"{path}: {variable!r} is empty")
    return array


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a split list, one per line; blank lines are skipped.

    A byte order mark, as editors on Windows write it, is no part of the first id.

    Raises:
        DataError: the list is missing, empty, names an id twice or contains something that is no file stem.
    """
    with reading(path, "text"):
        if path.stat().st_size > _MOST_LIST_BYTES:
            raise DataError(f"{path}: a list of more than {_MOST_LIST_BYTES >> 20} MiB is no list of images")
        data = path.read_bytes()
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
        lines = [line.strip() for line in re.split(r"\r\n|\r|\n", data.decode(encoding))]
    ids = tuple(line for line in lines if line)
    if not ids:
        raise DataError(f"{path}: the split list is empty; restore it from the archive")
    for image_id in ids:
        if reason := _no_id(image_id):
            shown = repr(image_id if len(image_id) <= 60 else f"{image_id[:60]}...")
            raise DataError(
                f"{path}: {shown} is no image id ({reason}); an id is a file's name without folder and suffix, "
                f"one a line, for example 0001 or 2008_000001"
            )
    if len(set(ids)) != len(ids):
        twice = next(image_id for image_id, count in Counter(ids).items() if count > 1)
        raise DataError(f"{path}: id {twice!r} is listed twice")
    return ids


def _no_id(line: str) -> str:
    """Return why a line of a list is no id; empty when it is one."""
    if "/" in line or "\\" in line:
        return "it names a folder"
    if line in (".", ".."):
        return "it is a folder"
    if not line.isprintable():
        return "it holds invisible characters"
    if len(line.encode(errors="replace")) > _LONGEST_ID:
        return f"it is longer than {_LONGEST_ID} bytes"
    if line.lower().endswith(_LABEL_SUFFIXES):
        return "it has a suffix"
    return ""
