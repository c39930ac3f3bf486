"""Labels as bytes and back, exactly, and the rows of the cache made of them.

Normals that come from 8-bit files are kept as those 8 bits: a third of the size, and disks and page caches
are what limits training on cached labels.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.data.dataset import Reader
from harness.data.labels import decode_normals
from harness.data.sample import Array
from harness.problem import BOUNDARY_TRUTH

_JPEG = (".jpg", ".jpeg")
_VIDEO = (".mkv", ".mp4")


def encode(label: Array) -> tuple[str, bytes]:
    """Return the form of a label (its kind and shape, for `decode`) and its bytes."""
    shape = "x".join(map(str, label.shape))
    is_normals = label.dtype == np.float32 and label.ndim == 3 and label.shape[2] == 3
    if is_normals and np.isfinite(label).all() and np.abs(label).max(initial=0) <= 1:
        # Back to the 8 bits that the normals may come from; exact or not at all.
        rgb = np.rint((label + 1) * 127.5).astype(np.uint8)
        # Axis by axis: a reduction over the last axis of three is forty times slower. [H, W]
        valid = (label[..., 0] != 0) | (label[..., 1] != 0) | (label[..., 2] != 0)
        if np.array_equal(decode_normals(rgb)[valid], label[valid]):
            # A plane of validity follows where some are invalid.
            return f"normals8 {shape}", rgb.tobytes() if valid.all() else rgb.tobytes() + valid.tobytes()
    return f"{label.dtype.str} {shape}", label.tobytes()


def decode(form: str, data: memoryview) -> Array:
    """Return the label of `encode`: a read-only view of ``data`` or, for compact normals, a new array."""
    kind, _, text = form.partition(" ")
    shape = tuple(map(int, text.split("x")))
    if kind != "normals8":
        return np.frombuffer(data, kind).reshape(shape)
    stored = np.frombuffer(data, np.uint8)
    size = shape[0] * shape[1]
    normals = decode_normals(stored[: 3 * size].reshape(shape))
    if stored.size > 3 * size:
        normals *= stored[3 * size :].reshape(shape[0], shape[1], 1)
    return normals


def row(reader: Reader, tasks: Sequence[str], image_id: str) -> dict[str, Any]:
    """Return one scene as a row of the cache.

    The decoded image is kept for PNG files only: at 425x560 a PNG takes 9 ms to decode, a JPEG 2 ms and
    a cached image 0.1 ms, while JPEG data sets are large and would grow by a half.

    Raises:
        DataError: a file of the scene is missing or broken.
    """
    path = reader.files(image_id)["image"]
    image = reader.image(image_id)
    # The file, for decoders of JPEG differ in the last bit; of a video the frame, for a file holds many.
    digest = hashlib.sha256(image.tobytes() if path.suffix.lower() in _VIDEO else path.read_bytes())
    values: dict[str, Any] = {"id": image_id, "height": image.shape[0], "width": image.shape[1]}
    values["image"] = None if path.suffix.lower() in _JPEG else image.tobytes()
    for task in tasks:
        form, data = encode(read_label(reader, image_id, task))
        digest.update(form.encode())
        digest.update(data)
        values |= {task: data, f"{task}.form": form}
    return values | {"digest": digest.hexdigest(), "check": checksum(values, tasks)}


def checksum(values: Mapping[str, Any], tasks: Sequence[str]) -> int:
    """Return the CRC-32 of the image and the labels of a row: 0.7 ms for the 3 MB of a scene of NYUD-v2.

    The digest of the row is of the image's file, so that it cannot show damage of the row itself.
    """
    check = zlib.crc32(b"" if values["image"] is None else values["image"])
    for task in tasks:
        check = zlib.crc32(values[task], zlib.crc32(values[f"{task}.form"].encode(), check))
    return check


def read_label(reader: Reader, image_id: str, name: str) -> Array:
    """Return a label of a scene: of a task, or the reference boundaries that predictions are scored with.

    Raises:
        DataError: a file of the scene is missing or broken.
    """
    if name != BOUNDARY_TRUTH:
        return reader.label(image_id, name)
    from harness.boundary import ground_truth  # here, for its compiler takes a moment to import

    return ground_truth(reader.boundary_regions(image_id)).astype(np.uint8)
