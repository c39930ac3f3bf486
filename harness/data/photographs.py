"""Photographs from anywhere: PNG and JPEG files and folders of them, of any size and mode."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from harness.data.files import open_image
from harness.errors import DataError

LARGEST = 1024
"""Longest side in pixels; larger photographs are reduced to it, for pictures of them are to be looked at."""

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MOST_PIXELS = 1 << 26
"""64 megapixels: more than cameras with one lens give; such a PNG takes 200 MB to decode."""


def find_photographs(paths: Sequence[Path]) -> list[Path]:
    """Return the files among ``paths`` as they are, and of the folders the images directly in them, by name.

    Hidden files are passed over: macOS leaves ``._NAME.png`` next to each file it copies.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        images = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not images:
            raise DataError(f"{path}: the folder holds no image ({', '.join(_SUFFIXES)})")
        found += images
    for path in found:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Return an image upright in RGB, uint8 [H, W, 3], its longest side at most `LARGEST`.

    The orientation that cameras note is applied, transparency laid over white, and 16 bits are cut to 8.

    Raises:
        DataError: the file is missing, no readable PNG or JPEG image, or too large.
    """
    try:
        with open_image(path, _MOST_PIXELS) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits: Pillow would cut values above 255 off instead of scaling them
                levels = np.asarray(upright, dtype=np.float64) / 257
                upright = Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))
            elif upright.has_transparency_data:  # an alpha channel, or one colour of a palette that stands for nothing
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            upright = upright.convert("RGB")
            upright.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            return np.array(upright)
    except DataError as error:
        if error.__cause__ is None:
            raise
        other = "" if path.suffix.lower() in _SUFFIXES else "; PNG and JPEG are read, convert other formats"
        raise DataError(f"{path}: the file is damaged or no image{other}") from error.__cause__
