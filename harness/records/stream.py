"""Records of streams: a kind of their own, which never stands in one table with records of still images."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, ValidationError

from harness.errors import UsageError, first_fault
from harness.files import write_atomically
from harness.records.load import RECORD_NAME, UnreadableRecord
from harness.records.metric import Amount, Count, Metric, Name, Part, Positive
from harness.records.schema import Software

STREAM_RECORD = "stream.json"
"""Name of the file; records of still images are ``record.json``, so that no reader takes one for the other."""


class Times(Part):
    """Milliseconds per frame."""

    frames: Count
    mean_ms: Amount
    p50_ms: Amount
    p95_ms: Amount
    p99_ms: Amount
    worst_ms: Amount

    @classmethod
    def of(cls, ms: Sequence[float]) -> Self | None:
        """Return the statistics of some frames; None of none.

        >>> Times.of([1.0, 2.0, 9.0]).p50_ms
        2.0
        """
        if not ms:
            return None
        import numpy as np  # tables read records without it

        p50, p95, p99 = map(float, np.percentile(ms, (50, 95, 99)))
        return cls(
            frames=len(ms), mean_ms=float(np.mean(ms)), p50_ms=p50, p95_ms=p95, p99_ms=p99, worst_ms=float(np.max(ms))
        )


class FrameTimes(Part):
    """Times of a stream; decoding and drawing are beside them, not in them."""

    all: Times | None
    full: Times | None = Field(description="Frames of which some network was computed in full.")
    partial: Times | None
    first_ms: Amount | None = Field(description="The first frame of the stream, which `all` contains too.")
    jitter_ms: Amount | None = Field(description="Standard deviation of the intervals between outputs.")
    fps: Amount | None = Field(description="Frames over the time they took together.")
    deadline_misses: Count | None = Field(
        default=None, description="Frames that took longer than one at `deadline_fps`."
    )
    deadline_fps: Amount | None = None
    decode_ms: Amount | None = Field(default=None, description="Mean.")
    draw_ms: Amount | None = Field(default=None, description="Mean.")


class FrameMacs(Part):
    """Executed MACs per frame."""

    mean: Amount | None = Field(description="Over the whole stream, the first frame included.")
    full: Amount | None
    partial: Amount | None
    dense: Amount | None = Field(description="Of the same networks with nothing skipped.")
    blocks_partial: Amount | None = Field(description="Blocks of partial frames, as a fraction of dense ones.")
    counted: bool = Field(description="By the counter, operator by operator; else by the formulas that it is held to.")


class Streaming(Part):
    """Accuracy of the output in force at the time of each frame, replayed from recorded times."""

    fps: Amount = Field(description="Rate at which frames come; those that come while the model is busy are dropped.")
    misses: Count = Field(description="Frames without any output yet: every class is wrong, regressions a constant.")
    lag: Amount | None = Field(description="Mean age of the output in force, in frames.")
    metrics: dict[Name, dict[Name, Metric]] = Field(default={})


class KindScores(Part):
    """Scores of the clips of one kind of motion, or of all."""

    clips: Count
    frames: Count
    metrics: dict[Name, dict[Name, Metric]] = Field(
        default={}, description="Task to its metrics through the stream, on labelled frames."
    )
    off_dense: dict[Name, Metric] = Field(default={}, description="Task to its error against dense runs.")
    consistency: dict[Name, Metric] = Field(default={})
    macs: FrameMacs | None = None
    streaming: Streaming | None = Field(default=None, description="Null in records from before it, and without times.")


class StreamRecord(Part):
    """One stream, or the clips of one data set, through one model under one policy."""

    kind: Literal["stream"] = "stream"
    schema_version: Literal[1] = 1
    run_id: Name
    status: Literal["partial", "complete", "failed"]
    failure: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    harness: Software
    command: list[str]
    source: Name = Field(description="Data set, folder, file or device.")
    source_kind: Literal["dataset", "clip", "file", "folder", "camera", "synthetic"]
    lossless: bool = Field(description="Whether the frames are as the camera gave them; nothing is scored on others.")
    method: Name
    backbone: str | None
    artifact: str | None = Field(description="sha256 over the files of the artifact.")
    options: dict[str, JsonValue] = Field(default={})
    policy: dict[str, JsonValue]
    tasks: list[Name]
    input_size: tuple[Positive, Positive]
    device: str
    precision: str
    threads: Count | None
    frames: Count
    frames_dropped: Count = 0
    full_frames: dict[Name, Count] = Field(default={}, description="Reason to the frames computed in full.")
    times: FrameTimes | None = None
    macs: FrameMacs | None = None
    state_bytes: Count | None = None
    off_dense: dict[Name, Metric] = Field(default={})
    kinds: dict[Name, KindScores] = Field(default={}, description="Kind of motion to its scores; `all` for all clips.")
    system_id: str
    environment: dict[str, Any] = Field(default={})
    warnings: list[str] = Field(default=[])


def write_stream_record(record: StreamRecord, folder: Path) -> Path:
    """Write ``folder/stream.json`` and return its path."""
    record.updated_at = datetime.now(UTC)
    path = folder / STREAM_RECORD
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_stream_record(path: Path) -> StreamRecord:
    """Return the stream record in a file or a folder.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    file = path / STREAM_RECORD if path.is_dir() else path
    try:
        return StreamRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"stream record {file}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"stream record {file}: damaged or of another version ({first_fault(error)})") from error


def find_stream_records(root: Path) -> list[StreamRecord]:
    """Return every readable stream record below a folder, in order of path; warn of the others."""
    found = []
    for path in sorted(root.rglob(STREAM_RECORD)):
        try:
            found.append(read_stream_record(path))
        except UsageError as error:
            warnings.warn(f"{error}; it is left out", UnreadableRecord, stacklevel=2)
    return found


def sorted_paths(paths: Sequence[Path]) -> tuple[list[Path], list[StreamRecord]]:
    """Return the paths that may hold records of still images, and the records of streams in all of them.

    Args:
        paths: Results folders, or files of records of either kind.

    Raises:
        UsageError: a file that was named is a damaged record of a stream.
    """
    stills, streams = [], []
    for path in paths:
        if path.is_dir():
            found = find_stream_records(path)
            streams += found
            if not found or any(path.rglob(RECORD_NAME)):
                stills.append(path)
        elif path.name == STREAM_RECORD:
            streams.append(read_stream_record(path))
        else:
            stills.append(path)
    return stills, streams


def frame_macs(
    macs: Sequence[Mapping[str, int]], full: Sequence[bool], dense: Mapping[str, int] | None, counted: bool
) -> FrameMacs:
    """Return the MACs of a stream.

    Args:
        macs: Part to MACs, of every frame.
        full: Whether it was computed in full.
        dense: Part to MACs with nothing skipped; None where it is not known.
        counted: Whether the counter gave them.
    """
    totals = [sum(parts.values()) for parts in macs]
    blocks = [sum(count for part, count in parts.items() if part.startswith("blocks")) for parts in macs]
    dense_blocks = sum(count for part, count in (dense or {}).items() if part.startswith("blocks"))

    def mean(values: Sequence[int]) -> float | None:
        return fmean(values) if values else None

    resting = [count for count, whole in zip(blocks, full, strict=True) if not whole]
    partial = mean(resting)
    return FrameMacs(
        mean=mean(totals),
        full=mean([total for total, whole in zip(totals, full, strict=True) if whole]),
        partial=mean([total for total, whole in zip(totals, full, strict=True) if not whole]),
        dense=float(sum(dense.values())) if dense else None,
        blocks_partial=partial / dense_blocks if partial is not None and dense_blocks else None,
        counted=counted,
    )
