"""Scenes with labels decoded once: an Arrow file per split and set of tasks, read through Hugging Face `datasets`.

A cache file belongs to one folder and one content. Its rows carry checksums that are compared when they are first
read, and a seal next to it contains the digest of all ids, sizes and digests; what does not agree is decoded again.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from filelock import FileLock

from harness.data.codec import checksum, decode, row
from harness.data.content import content_digest, short_digest
from harness.data.dataset import Dataset, Reader
from harness.data.locate import writing_cache
from harness.data.parallel import mapped
from harness.data.sample import Sample
from harness.errors import DataError
from harness.files import cache_home, write_atomically
from harness.progress import progress_bar

DECODER_VERSION = 2
"""To be raised whenever a reader or the codec decodes the same files into other labels, or the files' form changes."""

_ROWS_PER_BATCH = 8  # keeps Arrow's 2 GiB limit of a binary column far away, and the writer's memory small
_FACTS = ("id", "height", "width", "digest", "check")
"""Small columns that are read as soon as a cache is opened; the seal covers them."""


class _DamagedError(Exception):
    """A cache file is not what was written."""


class Scenes(Sequence[Sample]):
    """The scenes of one split, in the order of its list; indexing gives a `Sample` with read-only labels.

    Holds only paths until it is first read, so that it can be sent to worker processes.

    Attributes:
        ids: Image ids.
        sizes: (height, width) of each image.
        fingerprint: sha256 of the data set's name, build, split, tasks and ids and of the bytes of every image
            and decoded label. The same data give the same fingerprint on every machine.

    Args:
        path: Arrow file written by `open_scenes`.
        reader: Reads the images that are not in the file.
        identity: What the file was made of, for the fingerprint.
    """

    def __init__(self, path: Path, reader: Reader, tasks: Sequence[str], identity: str) -> None:
        self.path = path
        self.reader = reader
        self.tasks = tuple(tasks)
        self._table: Any = None
        self._checked: set[int] = set()
        self._open().data.table.validate(full=True)  # offsets that lie would be followed into foreign memory
        facts = self._open().select_columns(list(_FACTS)).with_format("numpy")[:]
        if _seal(path).read_text(encoding="utf-8") != _sealed(facts):
            raise _DamagedError("its seal does not fit")
        self.ids: tuple[str, ...] = tuple(map(str, facts["id"]))
        self.sizes = tuple((int(h), int(w)) for h, w in zip(facts["height"], facts["width"], strict=True))
        self._checks = tuple(map(int, facts["check"]))
        self._digests = tuple(map(str, facts["digest"]))
        self.fingerprint = hashlib.sha256(f"{identity}\n{''.join(self._digests)}".encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # slices are not needed
        """Return one scene.

        Raises:
            IndexError: there is no such scene.
            DataError: its image file has vanished or broken since the labels were cached.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        index %= len(self)
        held = self._row(index)
        # Views of the mapped file where the form allows it: nothing is copied before a transform needs it.
        labels = {task: decode(held[f"{task}.form"], memoryview(held[task])) for task in self.tasks}
        image_id, stored = self.ids[index], held["image"]
        if stored is None:
            return Sample(image_id, self.reader.image(image_id), labels)
        image = np.frombuffer(stored, np.uint8).reshape(*self.sizes[index], 3)
        return Sample(image_id, image, labels)

    def _row(self, index: int) -> dict[str, Any]:
        """Return one row, its large values as buffers; a row that fails its checksum is decoded from its files."""
        held = self._open()[index]
        values: dict[str, Any] = {"image": held["image"][0].as_buffer() if held["image"][0].is_valid else None}
        for task in self.tasks:
            values |= {f"{task}.form": held[f"{task}.form"][0].as_py(), task: held[task][0].as_buffer()}
        if index in self._checked:
            return values
        if checksum(values, self.tasks) == self._checks[index]:
            self._checked.add(index)  # once per process: a page that was right stays right
            return values
        values = row(self.reader, self.tasks, self.ids[index])
        if values["digest"] != self._digests[index]:
            raise DataError(f"{self.reader.root}: the files of {self.ids[index]} changed while they were in use")
        _say(f"{self.path}: the cache is damaged at {self.ids[index]}; that scene was decoded again")
        _seal(self.path).unlink(missing_ok=True)
        return values

    def _open(self) -> Any:
        if self._table is None:
            self._table = _hugging_face().Dataset.from_file(str(self.path)).with_format("arrow")
        return self._table

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind; the other process opens it again."""
        return self.__dict__ | {"_table": None, "_checked": set()}


def open_scenes(dataset: Dataset, reader: Reader, tasks: Sequence[str], limit: int | None = None) -> Scenes:
    """Return the scenes of a split, decoding their labels first if that was not done before.

    The cache lies under `harness.data.locate.cache_home`, never in the data folder. It belongs to the folder and to
    the content of the files that the tasks need. Processes that start together build it once.

    Args:
        dataset: The data set.
        reader: Reader of the split.
        tasks: Tasks whose labels are needed.
        limit: Use only the first scenes of the list; None for all.

    Raises:
        DataError: a source file is missing or broken.
        UsageError: the cache folder cannot be written.
    """
    ids = reader.ids[:limit]
    variant = [dataset.variant] if dataset.variant else []
    identity = json.dumps([dataset.name, reader.build, reader.split, list(tasks), ids, *variant])
    place = f"{DECODER_VERSION}\n{identity}\n{reader.root.resolve()}\n"
    folder, name = cache_home() / "scenes", f"{dataset.name}-{reader.split}"
    title = f"{dataset.name} {reader.split}"
    with writing_cache(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = content_digest(
            reader, tasks, ids, folder / f"{name}-{short_digest(place)}.sources", f"hashing {title}"
        )
        path = folder / f"{name}-{short_digest(place + content)}.arrow"
        build = partial(_build, path, reader, tasks, ids, f"decoding {title}")
        _build_once(path, build)
        try:
            return Scenes(path, reader, tasks, identity)
        except Exception as error:  # readers of Arrow let almost any exception out on damaged files
            _say(f"{path}: the cache is damaged ({_first_line(error)}); its scenes are decoded again")
            _seal(path).unlink(missing_ok=True)
        _build_once(path, build)
        try:
            return Scenes(path, reader, tasks, identity)
        except Exception as error:
            raise DataError(
                f"{path}: is damaged as soon as it is written ({_first_line(error)}); check the disk"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _build_once(path: Path, build: Callable[[], None]) -> None:
    """Build a cache file unless it is there with its seal; of several processes one builds, the others wait."""
    if path.is_file() and _seal(path).is_file():
        return
    with FileLock(path.with_suffix(".lock")):
        if not (path.is_file() and _seal(path).is_file()):
            build()


def _say(warning: str) -> None:
    sys.stderr.write(f"harness: warning: {warning}\n")


def _build(path: Path, reader: Reader, tasks: Sequence[str], ids: Sequence[str], title: str) -> None:
    """Write the Arrow file under a temporary name and rename it; the caller has the lock."""
    hf = _hugging_face()
    kinds = {
        "id": "string",
        "height": "int32",
        "width": "int32",
        "digest": "string",
        "check": "int64",
        "image": "binary",
    }
    kinds |= {column: kind for task in tasks for column, kind in ((task, "binary"), (f"{task}.form", "string"))}
    features = hf.Features({column: hf.Value(kind) for column, kind in kinds.items()})

    def died(image_id: str) -> NoReturn:
        raise DataError(
            f"{reader.root}: the process that decoded scene {image_id} died; a file of it is damaged "
            f"({', '.join(str(path) for path in reader.files(image_id).values())}), or the memory is too small"
        )

    temporary = path.with_suffix(".partial")  # one name per cache: what a killed build left is overwritten
    facts: dict[str, list[Any]] = {name: [] for name in _FACTS}
    try:
        with (
            mapped(partial(row, reader, tuple(tasks)), ids, died) as decoded,
            progress_bar(title, len(ids)) as report,
            hf.arrow_writer.ArrowWriter(
                features=features, path=str(temporary), writer_batch_size=_ROWS_PER_BATCH
            ) as writer,
        ):
            for done, values in enumerate(decoded, start=1):
                writer.write(values)
                for name in _FACTS:
                    facts[name].append(values[name])
                report(done)
            writer.finalize()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        write_atomically(_seal(path), _sealed(facts))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_suffix(".seal")


def _sealed(facts: Mapping[str, Any]) -> str:
    """Return the digest of the small columns."""
    lines = zip(*(map(str, facts[name]) for name in _FACTS), strict=True)
    return hashlib.sha256("\n".join(" ".join(line) for line in lines).encode()).hexdigest()


def _hugging_face() -> Any:
    """Return Hugging Face `datasets`: imported late, for it takes seconds, and kept silent and off the network."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    hf = import_module("datasets")
    hf.disable_progress_bars()
    return hf
