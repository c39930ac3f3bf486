"""Images from anywhere: files and folders of any format, size and mode that Pillow reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from harness.data.files import DAMAGE
from harness.errors import DataError

LARGEST = 1024
"""Longest side in pixels; larger photographs are reduced to it, for pictures of them are to be looked at."""


def find_photographs(paths: Sequence[Path]) -> list[Path]:
    """Return the files among ``paths`` as they are, and of the folders the images directly in them, by name.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    readable = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in readable and file.is_file())
        if not images:
            raise DataError(f"{path}: the folder holds no image")
        found += images
    for path in found:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Return an image upright in RGB, uint8 [H, W, 3], its longest side at most `LARGEST`.

    The orientation that cameras note is applied, transparency laid over white, and 16 bits are cut to 8.

    Raises:
        DataError: the file is missing or no readable image.
    """
    try:
        with Image.open(path) as image:
            upright = _rgb(ImageOps.exif_transpose(image))
            upright.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            return np.array(upright)
    except OSError as error:
        reason = "the file is damaged or no image" if error.errno is None else str(error.strerror)
        raise DataError(f"{path}: {reason}") from error
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: the image cannot be read ({str(error).splitlines()[0]})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        levels = values * 255 if image.mode == "F" else values / 257  # floats lie in [0, 1], integers have 16 bits
        return Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
