"""Decoding and checking of the label kinds that several data sets share."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.sample import Array
from harness.errors import DataError


def decode_normals(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 8-bit normals as vectors: n = 2 v / 255 - 1 per axis (ASTMT, 2019).

    Args:
        rgb: uint8 [..., 3].
    """
    vectors = rgb.astype(np.float32)
    vectors *= 2
    vectors /= 255
    vectors -= 1
    return vectors


def check_size(array: Array, size: tuple[int, int], path: Path) -> None:
    """Raise a `DataError` unless a label or an image is as high and wide as the image it belongs with.

    Args:
        array: [H, W] or [H, W, C].
        size: Expected (height, width).
        path: The file it comes from, for the message.
    """
    if array.shape[:2] != size:
        raise DataError(
            f"{path}: is {_text(array.shape[:2])} but its image or data set is {_text(size)}; "
            f"files of different builds are mixed, or this one is broken"
        )


def check_values(label: Array, path: Path, *, largest: int, also: Collection[int] = ()) -> None:
    """Raise a `DataError` unless every value is an integer in [0, largest] or in ``also``."""
    if label.dtype.kind == "f" and not np.array_equal(label, np.rint(label)):
        raise DataError(f"{path}: label values must be whole numbers")
    wrong = (label < 0) | (label > largest)
    for value in also:
        wrong &= label != value
    if wrong.any():
        allowed = f"0..{largest}" + "".join(f" or {value}" for value in also)
        raise DataError(f"{path}: label value {label[wrong].flat[0]} is out of range, allowed: {allowed}")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
