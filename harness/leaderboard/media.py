"""The pictures of a run, made small enough for a page."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

CAPTIONS = {
    "predictions.png": "Labels and predictions of the first scenes",
    "layers.png": "Where sub-tasks differ from the base, and which rows they compute",
}
"""Picture in a run's folder to what it shows."""

_WIDEST = 1600


class Picture(NamedTuple):
    """A picture as it is shown: WebP bytes and size in pixels; no bytes where the file is damaged."""

    name: str
    caption: str
    content: bytes | None
    width: int = 0
    height: int = 0


def pictures(folder: Path | None) -> list[Picture]:
    """Return the pictures in a run's folder."""
    if folder is None:
        return []
    return [_picture(folder / name, text) for name, text in CAPTIONS.items() if (folder / name).is_file()]


def _picture(path: Path, caption: str) -> Picture:
    name = f"{path.stem}.webp"
    try:
        with Image.open(path, formats=["PNG"]) as image:
            small = image.convert("RGBA" if "A" in image.mode else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError):
        return Picture(name, caption, None)
    small.thumbnail((_WIDEST, 8 * _WIDEST))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=82, method=4)
    return Picture(name, caption, buffer.getvalue(), *small.size)
