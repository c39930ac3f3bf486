"""Storage of an artifact on disk: bytes by file, part and task, and zipped."""

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.files import file_bytes
from harness.method import MultiTaskModel, accounting_of
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.records.costs import Storage

OTHER = "other"
"""Part of what belongs to no part of the model: settings, and the format's own bytes."""

_CHUNK = 2**20
"""Bytes that are compressed at a time: an artifact need not fit into memory once more."""


def fill_storage(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> tuple[()]:
    """Measure the candidate's artifact; there is nothing to warn of."""
    parts = accounting_of(candidate.method).bytes_per_part(model, candidate.artifact)
    candidate.record.storage = measure_storage(candidate.artifact, parts, model.problem.names)
    return ()


def measure_storage(artifact: Path, parts: Mapping[str, int], tasks: Sequence[str]) -> Storage:
    """Return the bytes of an artifact.

    Args:
        artifact: Its folder.
        parts: Bytes by part of the model, from `Accounting.bytes_per_part`; the rest is ``other``.
        tasks: Tasks the artifact serves; a part named ``<kind>/<task>`` is what that task adds.

    Raises:
        ValueError: the parts are larger than the artifact.
    """
    per_file = file_bytes(artifact)
    total = sum(per_file.values())
    rest = total - sum(parts.values())
    if rest < 0:
        raise ValueError(f"the parts take {sum(parts.values())} bytes, the whole artifact {total}")
    return Storage(
        artifact_bytes=total,
        per_file=per_file,
        per_part={**parts, OTHER: parts.get(OTHER, 0) + rest},
        marginal_bytes={
            task: sum(count for part, count in parts.items() if part.partition("/")[2] == task) for task in tasks
        },
        zipped_bytes=zipped_bytes(artifact),
    )


def zipped_bytes(artifact: Path) -> int:
    """Return the bytes of an artifact as one deflated archive, which is neither written nor kept.

    Equal files give equal bytes: the archive holds no times and no owners.
    """
    counter = _Counter()
    with zipfile.ZipFile(counter, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(artifact):
            # `ZipInfo` of a name alone has a fixed date, so that equal files give equal bytes.
            entry = zipfile.ZipInfo(path.relative_to(artifact).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)
    return counter.count


def _files(artifact: Path) -> list[Path]:
    return sorted(path for path in artifact.rglob("*") if path.is_file())


class _Counter(io.RawIOBase):
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size
