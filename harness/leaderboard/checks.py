"""Checks of one submitted record: its names, its values, the files beside it, and where it comes from."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Literal

from harness.errors import UsageError, counted, unknown
from harness.files import file_bytes, sha256_of
from harness.protocol import PROFILES, Protocol
from harness.records.load import Stored
from harness.records.schema import Record
from harness.tasks import TASK_FACTS

Level = Literal["error", "warning"]

_AHEAD = timedelta(days=1)
"""A clock may be wrong by this much."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a record, or lacking.

    Attributes:
        place: The record's file below the results folder.
        check: What was checked, a short name.
        level: An error refuses a submission, a warning is for its reviewer.
        text: What was found.
    """

    place: str
    check: str
    level: Level
    text: str


Found = Iterator[tuple[Level, str]]


def status(stored: Stored) -> Found:
    """Only complete runs are submitted."""
    record = stored.record
    if record.status != "complete":
        yield "error", f"the run is {record.status}{f' ({record.failure})' if record.failure else ''}"
    if record.source == "reported":
        yield "warning", "values copied from a document, not measured"


def names(stored: Stored) -> Found:
    """The folder has the name of the run; method, tasks, protocol and encoder are known names."""
    from harness import registry
    from harness.backbones import NAMES

    record, method = stored.record, stored.record.method
    if not stored.path.parent.as_posix().endswith(record.run_id):
        yield "error", f"the folder {stored.path.parent.name} is not that of the run {record.run_id}"
    if not _NAME.fullmatch(method.name):
        yield "error", f"the method's name {method.name[:80]!r} is none for a folder"
    own = method.plugin is not None and method.plugin.startswith("harness.")
    known = registry.names("methods")
    if own and method.name not in known:
        yield "error", unknown("method", method.name, known)
    if method.backbone is not None and method.backbone not in NAMES:
        yield "warning", unknown("backbone", method.backbone, NAMES)
    if record.dataset.name not in registry.names("datasets"):
        yield "warning", unknown("data set", record.dataset.name, registry.names("datasets"))
    for task in record.metrics:
        if task not in TASK_FACTS:
            yield "warning", unknown("task", task, TASK_FACTS)


def protocol(stored: Stored) -> Found:
    """The conventions in force are those of the protocol that the record names, but for those of single data sets."""
    record = stored.record
    name, *changed = record.protocol_name.split("+")
    if record.reported is not None or record.costs_only or not record.protocol:
        return
    if name not in PROFILES:
        yield "error", unknown("protocol", name, PROFILES)
        return
    given = dict(option.partition("=")[::2] for option in changed)
    for key, value in Protocol.profile(name).model_dump(mode="json").items():
        held = record.protocol.get(key)
        if held is not None and str(held) != given.get(key, str(value)) and key != "boundary_set":
            yield "error", f"{key} is {held}, {record.protocol_name} has {given.get(key, value)}"


def provenance(stored: Stored) -> Found:
    """The record says what it takes to repeat it."""
    record = stored.record
    if record.reported is not None:
        return
    if record.harness.git_commit is None:
        yield "warning", "the commit of the harness is not known"
    elif record.harness.git_dirty:
        yield "warning", f"the harness differed from its commit {record.harness.git_commit[:8]}"
    lacking = {
        "the command": not record.command,
        "the environment": not record.environment,
        "the digest of the method's source": record.method.init != "predictions" and not record.method.source,
        "the digest of the training data": bool(record.training) and not record.dataset.train_fingerprint,
    }
    absent = [what for what, lacks in lacking.items() if lacks]
    if absent:
        yield "warning", f"missing: {', '.join(absent)}"
    if record.method.init in ("file", "checkpoint") and "sha256:" not in (record.method.checkpoint or ""):
        yield "error", "it started from a file, and its digest is missing"


def values(stored: Stored) -> Found:
    """Numbers are possible, and those that follow from each other agree."""
    record, data = stored.record, stored.record.dataset
    if record.updated_at < record.created_at:
        yield "error", "it ended before it began"
    if record.created_at > datetime.now(UTC) + _AHEAD:
        yield "error", f"it is of the future, {record.created_at:%Y-%m-%d}"
    if data.n_evaluated is not None and data.n_expected is not None and data.n_evaluated != data.n_expected:
        level: Level = "error" if data.n_evaluated > data.n_expected else "warning"
        yield level, f"{data.n_evaluated} of {counted(data.n_expected, 'image')} evaluated"
    for task, metrics in record.metrics.items():
        facts = TASK_FACTS.get(task)
        first = next(iter(metrics.values()))
        if facts is not None and first.higher_is_better != facts.higher_is_better:
            yield "error", f"{task}: its direction is not that of the task"
        for name, metric in metrics.items():
            if metric.value is not None and metric.n == 0:
                yield "error", f"{task} {name}: a value over no pixel"
    yield from _costs(record)


def _costs(record: Record) -> Found:
    if record.storage and record.storage.per_file:
        total = sum(record.storage.per_file.values())
        if total != record.storage.artifact_bytes:
            yield "error", f"the artifact has {record.storage.artifact_bytes} bytes, its files {total}"
    if record.parameters and sum(record.parameters.per_part.values()) > record.parameters.total:
        yield "error", f"the parts have more parameters than the model, {record.parameters.total}"
    for latency in record.latency:
        ordered = [latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms]
        if ordered != sorted(ordered):
            yield "error", f"latency at batch size {latency.batch_size}: percentiles that do not rise"
        if latency.samples_ms and not math.isclose(median(latency.samples_ms), latency.p50_ms, rel_tol=1e-9):
            told = f"{latency.p50_ms} ms is not the median of its samples"
            yield "error", f"latency at batch size {latency.batch_size}: {told}"
        for reason in latency.disturbed:
            yield "warning", f"latency at batch size {latency.batch_size}: {reason}"


def files(stored: Stored) -> Found:
    """The files beside a record are those that it describes."""
    record, folder = stored.record, stored.path.parent
    if record.per_image is not None:
        path = folder / Path(record.per_image.file).name
        if not path.is_file():
            yield "warning", f"{path.name} is not here, so its metrics cannot be checked"
        elif sha256_of(path) != record.per_image.sha256:
            yield "error", f"{path.name}: its sha256 is not the one that the record names"
        else:
            yield from _metrics(record, path)
    artifact = folder / "artifact"
    if artifact.is_dir() and record.storage and record.storage.per_file:
        held = file_bytes(artifact)
        for name in sorted(held.keys() | record.storage.per_file.keys()):
            if held.get(name) != record.storage.per_file.get(name):
                there, told = held.get(name, "no"), record.storage.per_file.get(name, "no")
                yield "error", f"artifact/{name}: {there} bytes, {told} in the record"


def _metrics(record: Record, path: Path) -> Found:
    """Compare the metrics with those that the per-image values give, which agree to the last bit."""
    from harness.tasks.per_image import read_per_image

    try:
        found = read_per_image(path)
        computed = found.metrics()
    except UsageError as error:
        yield "error", str(error)
        return
    if record.dataset.n_evaluated is not None and len(found.ids) != record.dataset.n_evaluated:
        yield "error", f"{path.name}: {counted(len(found.ids), 'image')}, the record says {record.dataset.n_evaluated}"
    for task, metrics in computed.items():
        for name, metric in metrics.items():
            told = record.metrics.get(task, {}).get(name)
            if told is None or told.value != metric.value:
                value = told.value if told else "no value"
                yield "error", f"{task} {name}: {value} in the record, {metric.value} by {path.name}"


CHECKS = {
    "status": status,
    "names": names,
    "protocol": protocol,
    "provenance": provenance,
    "values": values,
    "files": files,
}
"""Checks of one record by name, in the order in which they are made."""
