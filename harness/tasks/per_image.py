"""The file of per-image values next to a record: written, read, and turned into metrics again.

A row per image; a column ``image`` with its id and one or two per statistic, ``<task>.<statistic>``; see
`harness.tasks.columns`. The schema's metadata hold the protocol and the label spaces: the file is read by itself.
"""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError, UsageError, described
from harness.files import sha256_of, write_atomically
from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.records.schema import PerImageFile
from harness.tasks import TASKS, build_task
from harness.tasks.base import Meter
from harness.tasks.columns import decode, encode
from harness.tasks.images import Array, ImageMeter

PER_IMAGE_NAME = "per-image.parquet"
VERSION = 1

_KEY = b"harness.per_image"


@dataclass(frozen=True)
class TaskImages:
    """The statistics of one task.

    Attributes:
        meter: An empty meter of the protocol, which turns statistics into metrics.
        spec: The task.
        statistics: Name to values, [N, ...]; zeros for images of which nothing was scored.
        present: Images that were scored, or have nothing to score, [N].
    """

    meter: ImageMeter
    spec: TaskSpec
    statistics: Mapping[str, Array]
    present: NDArray[np.bool_]


@dataclass
class PerImage:
    """Per-image values of a run, collected while it is scored, or read from its file.

    Attributes:
        protocol: Conventions that the statistics were counted by.
        ids: Images, in order.
        tasks: Task name to its statistics; tasks whose meter gives none are left out.
    """

    protocol: Protocol
    ids: list[str] = field(default_factory=list)
    tasks: dict[str, TaskImages] = field(default_factory=dict)

    def take(
        self, spec: TaskSpec, meter: Meter, scored: Sequence[str] | None = None, lost: Collection[str] = ()
    ) -> None:
        """Take the statistics of a task from its meter; nothing of one that is no `ImageMeter`.

        Args:
            spec: The task.
            meter: The meter.
            scored: Images that were given to the meter, in that order; None for all of `ids`.
            lost: Images that could not be scored although they have labels.
        """
        if not isinstance(meter, ImageMeter):
            return
        places = {image: place for place, image in enumerate(self.ids)}
        at = np.arange(len(self.ids)) if scored is None else np.array([places[one] for one in scored], np.int64)
        present = np.array([image not in lost for image in self.ids], bool)
        statistics = {}
        for name, values in meter.statistics().items():
            statistics[name] = meter.layout[name].empty(len(self.ids))
            statistics[name][at] = values
        self.tasks[spec.name] = TaskImages(_empty_meter(spec, self.protocol), spec, statistics, present)

    def metrics(self) -> dict[str, dict[str, Metric]]:
        """Return the metrics that the statistics give, by task."""
        return {name: task.meter.metrics(task.statistics) for name, task in self.tasks.items()}

    def write(self, folder: Path) -> PerImageFile | None:
        """Write the file and return how a record names it; None, and no file, where no task has statistics."""
        path = folder / PER_IMAGE_NAME
        if not self.tasks:
            path.unlink(missing_ok=True)  # of an earlier try
            return None
        write_atomically(path, self.to_parquet())
        return PerImageFile(file=path.name, sha256=sha256_of(path), images=len(self.ids))

    def to_parquet(self) -> bytes:
        """Return the bytes of the file."""
        import pyarrow as pa
        from pyarrow import parquet

        columns: dict[str, Any] = {"image": pa.array(self.ids, pa.string())}
        for task_name, task in self.tasks.items():
            for name, values in task.statistics.items():
                columns |= encode(f"{task_name}.{name}", values, task.present)
        specs = {
            name: {"num_classes": task.spec.num_classes, "tolerance": task.spec.tolerance}
            for name, task in self.tasks.items()
        }
        facts = {"version": VERSION, "protocol": self.protocol.model_dump(mode="json"), "tasks": specs}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression="zstd", compression_level=9)
        return buffer.getvalue()


def read_per_image(path: Path) -> PerImage:
    """Return the per-image values in a file; tasks of plug-ins that are not there are left out.

    Raises:
        UsageError: the file is missing, damaged, or of a later version.
    """
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        facts = json.loads(table.schema.metadata[_KEY])
        if facts["version"] != VERSION:
            raise UsageError(f"{path}: per-image values of version {facts['version']}, {VERSION} is read here")
        found = PerImage(Protocol.model_validate(facts["protocol"]), table["image"].to_pylist())
        for task_name, fact in facts["tasks"].items():
            if task_name not in TASKS:
                continue
            spec = TaskSpec(task_name, fact["num_classes"], tolerance=fact["tolerance"])
            meter = _empty_meter(spec, found.protocol)
            columns = {name: decode(table, f"{task_name}.{name}", form) for name, form in meter.layout.items()}
            _, present = next(iter(columns.values()))
            statistics = {name: values for name, (values, _) in columns.items()}
            found.tasks[task_name] = TaskImages(meter, spec, statistics, present)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; the record names it, so it was moved or deleted") from error
    except HarnessError:
        raise
    except Exception as error:  # whatever a damaged file, or one of other hands, leads to
        raise UsageError(f"{path}: no file of per-image values, or a damaged one ({described(error)})") from error
    return found


def _empty_meter(spec: TaskSpec, protocol: Protocol) -> ImageMeter:
    """Return the meter of a task.

    Raises:
        UsageError: it gives no statistics, or the number of classes is impossible.
    """
    if spec.num_classes is not None and not 1 <= spec.num_classes < 256:
        raise UsageError(f"task {spec.name}: {spec.num_classes} classes; labels have 8 bits")
    meter = build_task(spec).meter(protocol)
    if not isinstance(meter, ImageMeter):
        raise UsageError(f"the meter of task {spec.name!r} gives no per-image values")
    return meter
