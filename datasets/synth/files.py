"""Writers of files whose bytes depend on nothing but their content, and of folders that appear as a whole."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError

_MAT_TEXT = b"MATLAB 5.0 MAT-file Platform: posix"
_MAT_TEXT_LENGTH = 116


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write grey [H, W] or RGB [H, W, 3] pixels; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=6)


def write_palette_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write labels [H, W] as a palette image in the colours of PASCAL VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette(voc_palette().ravel().tolist())
    image.save(path, compress_level=6)


def voc_palette() -> NDArray[np.uint8]:
    """Return the colours of the VOC development kit, [256, 3]: the label's bits dealt out to the channels."""
    label = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = label >> (3 * level + channel) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


def write_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write RGB pixels [H, W, 3] with little loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write_mat(path: Path, variables: Mapping[str, Any]) -> None:
    """Write a MAT v5 file; SciPy's header with the time of day is replaced by a plain one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, dict(variables), do_compression=True)
    with path.open("r+b") as file:
        file.write(_MAT_TEXT.ljust(_MAT_TEXT_LENGTH))


def write_text(path: Path, text: str) -> None:
    """Write text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `root` when the block ends well, and vanishes otherwise.

    Args:
        root: Must not exist, or be empty.

    Raises:
        UsageError: `root` is a file, holds something or cannot be written.
    """
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UsageError(f"{root}: is not empty; name a new folder or empty this one first")
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=root.parent) as scratch:
            draft = Path(scratch) / root.name
            draft.mkdir()
            yield draft
            if root.exists():
                root.rmdir()
            shutil.move(draft, root)
    except OSError as error:  # a full or read-only disk, a name that is too long
        raise UsageError(f"{root}: cannot be written ({error.strerror or error}); name another folder") from error
