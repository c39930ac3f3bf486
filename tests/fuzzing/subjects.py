"""Everything that reads files of outsiders, with seeds to mutate: `SUBJECTS` by kind, and `attempt` for one input."""

import io
import random
import shutil
import signal
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io
from fuzzing.mutate import mutated, mutated_gzip, mutated_mat, mutated_png
from PIL import Image

from harness.data.archive import unpack
from harness.data.card import load_card
from harness.data.files import image_size, read_ids, read_indices, read_mat, read_npy, read_rgb
from harness.data.labels import check_values
from harness.data.photographs import read_photograph
from harness.datasets.pascal_parts import draw_parts
from harness.errors import HarnessError

LONGEST_S = 20
"""An input that takes longer is one that hangs; ordinary ones take milliseconds."""

Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Subject:
    """One kind of file.

    Attributes:
        seeds: Sound files.
        read: Reads a file; may raise a `HarnessError` and nothing else.
        mutators: Changes to draw from.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    mutators: tuple[Mutator, ...] = (mutated,)


def attempt(kind: str, seed: int, folder: Path) -> str:
    """Read one mutated file; the same kind and seed give the same file.

    Args:
        kind: Key of `SUBJECTS`.
        seed: Number of the input.
        folder: Empty folder to work in; nothing may be written outside ``folder / "home"``.

    Returns:
        ``read``, or the message of the refusal.

    Raises:
        Exception: whatever escaped; that is a fault. `TimeoutError` after `LONGEST_S` seconds.
    """
    subject, rng = SUBJECTS[kind], random.Random(f"{kind} {seed}")
    path = folder / "input"
    path.write_bytes(rng.choice(subject.mutators)(rng.choice(subject.seeds), rng))
    try:
        with time_limit():
            subject.read(path)
    except HarnessError as error:
        message = str(error)
        if "\n" in message or not message.strip():
            raise AssertionError(f"the message is no line: {message!r}") from error
        return message
    return "read"


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise a `TimeoutError` in a block that takes longer than `LONGEST_S` seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Seeds.

_RNG = np.random.default_rng(0)
_GREY = _RNG.integers(0, 41, (12, 16)).astype(np.uint8)
_RGB = _RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)


def _image(pixels: Any, form: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, form)
    return buffer.getvalue()


_PNG = (
    _image(_GREY, "PNG"),
    _image(_RGB, "PNG"),
    _image(_GREY, "PNG", "P"),
    _image(_RGB, "PNG", "RGBA"),
    _image(_GREY.astype(np.uint16) * 700, "PNG"),
    _image(_GREY > 20, "PNG"),
)
_JPEG = (_image(_RGB, "JPEG"), _image(_GREY, "JPEG"), _image(_RGB, "JPEG", "CMYK"))


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _mat(variables: dict[str, Any], compressed: bool, version: Literal["4", "5"] = "5") -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, format=version, do_compression=compressed)
    return buffer.getvalue()


def _person() -> dict[str, Any]:
    mask = _GREY > 20
    parts = np.zeros((1, 2), [("part_name", "O"), ("mask", "O")])
    parts[0] = [("head", mask.astype(np.uint8)), ("torso", (~mask).astype(np.uint8))]
    objects = np.zeros((1, 1), [("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")])
    objects[0, 0] = ("person", np.array([[15]], np.uint8), mask.astype(np.uint8), parts)
    return {"anno": {"imname": "x", "objects": objects}}


def _archives() -> Iterator[bytes]:
    members = {
        "NYUDv2/gt_sets/val.txt": b"0001\n",
        "NYUDv2/images/0001.png": _PNG[1],
        "NYUDv2/depth/0001.npy": bytes(99),
    }
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        yield buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in members.items():
            held.writestr(name, content)
    yield buffer.getvalue()


_TAR, _TGZ, _ZIP = _archives()


# Readers.


def _label(path: Path) -> None:
    check_values(read_indices(path), path, largest=40)


def _label_map(path: Path) -> None:
    values = read_mat(path, "LabelMap")
    assert isinstance(values, np.ndarray)


def _unpack(path: Path) -> None:
    home = path.parent / "home"
    try:
        unpack(path, home, load_card("nyud"))
        left = [entry.name for entry in home.iterdir() if not entry.name.endswith(".lock")]
        assert len(left) == 1, left
    finally:
        outside = {entry.name for entry in path.parent.iterdir()} - {"input", "home"}
        partial = home / ".nyud.partial"
        assert not outside, outside
        assert not partial.exists()
        shutil.rmtree(home, ignore_errors=True)


def _list_text() -> tuple[bytes, ...]:
    text = "".join(f"{k:04d}\n" for k in range(30))
    return text.encode(), text.replace("\n", "\r\n").encode("utf-8-sig"), text.encode("utf-16")


SUBJECTS: dict[str, Subject] = {
    "png": Subject(_PNG, read_rgb, (mutated, mutated_png)),
    "png-label": Subject(_PNG, _label, (mutated, mutated_png)),
    "jpeg": Subject(_JPEG, read_rgb),
    "size": Subject(_PNG + _JPEG, image_size),
    "photograph": Subject(_PNG + _JPEG, read_photograph, (mutated,)),
    "npy": Subject(
        (_npy(_GREY), _npy(_RGB.astype(np.float32)), _npy(np.asfortranarray(_GREY)), _npy(np.array(["a"]))), read_npy
    ),
    "mat": Subject(
        (_mat({"LabelMap": _GREY.astype(np.uint16)}, True), _mat({"LabelMap": _GREY}, False)),
        _label_map,
        (mutated, mutated_mat),
    ),
    "mat-4": Subject((_mat({"LabelMap": _GREY}, False, "4"),), _label_map),
    "mat-parts": Subject(
        (_mat(_person(), True), _mat(_person(), False)),
        lambda path: draw_parts(path, (12, 16)),
        (mutated, mutated_mat, mutated_mat),
    ),
    "list": Subject(_list_text(), read_ids),
    "tar": Subject((_TAR,), _unpack),
    "tar.gz": Subject((_TGZ,), _unpack, (mutated, mutated_gzip)),
    "zip": Subject((_ZIP,), _unpack),
}
"""Kind of file to its seeds and reader; a long run draws from the same."""
