"""Scenes with labels decoded once: an Arrow file per split and set of tasks, read through Hugging Face `datasets`."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from harness.data.codec import decode, row
from harness.data.dataset import Dataset, Reader
from harness.data.locate import cache_home
from harness.data.parallel import mapped
from harness.data.sample import Sample
from harness.errors import DataError, UsageError
from harness.progress import progress_bar

DECODER_VERSION = 1
"""To be raised whenever a reader or the codec decodes the same files into other labels."""

_ROWS_PER_BATCH = 8  # keeps Arrow's 2 GiB limit of a binary column far away, and the writer's memory small


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
        reader: Reads the images that the file does not hold.
        identity: What the file was made of, for the fingerprint.
    """

    def __init__(self, path: Path, reader: Reader, tasks: Sequence[str], identity: str) -> None:
        self.path = path
        self.reader = reader
        self.tasks = tuple(tasks)
        self._table: Any = None
        columns = self._open().select_columns(["id", "height", "width", "digest"]).with_format("numpy")[:]
        self.ids: tuple[str, ...] = tuple(map(str, columns["id"]))
        self.sizes = tuple((int(h), int(w)) for h, w in zip(columns["height"], columns["width"], strict=True))
        digests = "".join(map(str, columns["digest"]))
        self.fingerprint = hashlib.sha256(f"{identity}\n{digests}".encode()).hexdigest()

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
        held = self._open()[index]
        labels = {
            task: decode(held[f"{task}.form"][0].as_py(), memoryview(held[task][0].as_buffer())) for task in self.tasks
        }
        image_id, stored = self.ids[index], held["image"][0]
        if not stored.is_valid:
            return Sample(image_id, self.reader.image(image_id), labels)
        image = np.frombuffer(stored.as_buffer(), np.uint8).reshape(*self.sizes[index], 3)
        return Sample(image_id, image, labels)

    def _open(self) -> Any:
        if self._table is None:
            self._table = _hugging_face().Dataset.from_file(str(self.path)).with_format("arrow")
        return self._table

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind; the other process opens it anew."""
        return self.__dict__ | {"_table": None}


def open_scenes(dataset: Dataset, reader: Reader, tasks: Sequence[str], limit: int | None = None) -> Scenes:
    """Return the scenes of a split, decoding their labels first if that was not done before.

    The cache lies under `harness.data.locate.cache_home`, never in the data folder. It is made anew when any
    source file changes. Processes that start together build it once.

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
    key = hashlib.sha256(f"{DECODER_VERSION}\n{identity}\n".encode())
    for line in _source_lines(reader, ids):
        key.update(line.encode())
    folder = cache_home() / "scenes"
    path = folder / f"{dataset.name}-{reader.split}-{key.hexdigest()[:32]}.arrow"
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.is_file():  # another process may have built it while this one waited
                    _build(path, reader, tasks, ids, f"decoding {dataset.name} {reader.split}")
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR):
                raise
            raise UsageError(
                f"the cache folder {folder} cannot be written ({error.strerror}); "
                f"name another one in the environment variable HARNESS_CACHE"
            ) from error
    try:
        return Scenes(path, reader, tasks, identity)
    except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{path}: the cache file is damaged ({error}); delete it and run again") from error


def _source_lines(reader: Reader, ids: Sequence[str]) -> Iterator[str]:
    """Yield the name, size and time of change of every source file."""
    for image_id in ids:
        for role, path in reader.files(image_id).items():
            try:
                status = path.stat()
            except OSError:  # not every run needs every file; the decoder complains where it does
                yield f"{role} {path.relative_to(reader.root)} absent\n"
            else:
                yield f"{role} {path.relative_to(reader.root)} {status.st_size} {status.st_mtime_ns}\n"


def _build(path: Path, reader: Reader, tasks: Sequence[str], ids: Sequence[str], title: str) -> None:
    """Write the Arrow file under a temporary name and rename it; the caller holds the lock."""
    hf = _hugging_face()
    kinds = {"id": "string", "height": "int32", "width": "int32", "digest": "string", "image": "binary"}
    kinds |= {column: kind for task in tasks for column, kind in ((task, "binary"), (f"{task}.form", "string"))}
    features = hf.Features({column: hf.Value(kind) for column, kind in kinds.items()})
    temporary = path.with_suffix(".partial")  # one name per cache: what a killed build left is overwritten
    try:
        with (
            mapped(partial(row, reader, tuple(tasks)), ids) as decoded,
            progress_bar(title, len(ids)) as report,
            hf.arrow_writer.ArrowWriter(
                features=features, path=str(temporary), writer_batch_size=_ROWS_PER_BATCH
            ) as writer,
        ):
            for done, values in enumerate(decoded, start=1):
                writer.write(values)
                report(done)
            writer.finalize()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _hugging_face() -> Any:
    """Return Hugging Face `datasets`: imported late, for it takes seconds, and kept silent and off the network."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    hf = import_module("datasets")
    hf.disable_progress_bars()
    return hf
