"""Stream of a run on a video data set: validation clips scored through the model's stream, in a record of their own."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch

from harness.config import RunConfig
from harness.data.clips import Clip, ClipReader
from harness.errors import described
from harness.method import MultiTaskModel
from harness.probes.environment import provenance
from harness.progress import RunProgress
from harness.records.stream import KindScores, StreamRecord, write_stream_record
from harness.run.configure import STREAM, split_settings
from harness.run.job import ARTIFACT, Job
from harness.stream.play import frame_times
from harness.stream.policy import StreamPolicy
from harness.stream.score import ClipScorer, Timed
from harness.weights.artifact import digest_artifact

FRAMES_NAME = "frames.jsonl"
"""A line per frame, beside the record of the stream."""


def policy_of(config: RunConfig) -> StreamPolicy:
    """Return the policy of the streams of a command.

    Raises:
        UsageError: a setting is none of a stream's, or has a wrong value.
    """
    return StreamPolicy.read(split_settings(config.set)[1], f"--set {STREAM}")


def stream_clips(job: Job, model: MultiTaskModel, reader: ClipReader, progress: RunProgress) -> StreamRecord:
    """Stream the validation clips; write ``stream.json`` and ``frames.jsonl`` beside the record of still images.

    What was done when it broke off is written, too, as partial.

    Args:
        job: The job.
        model: As it came out of its artifact.
        reader: Of the validation clips.
        progress: Where progress is shown.
    """
    wanted = {image_id.rpartition("-")[0] for image_id in job.data.val.ids}  # fewer under --limit
    clips = [clip for clip in reader.clips if clip.id in wanted]
    data, policy = job.data, policy_of(job.config)
    scorer = ClipScorer(model.eval(), job.tasks, data.val, data.protocol, data.transform, policy, job.compute)
    reasons: Counter[str] = Counter()
    timed: dict[str | None, Timed] = {}
    status: Literal["partial", "complete"] = "partial"
    failure: str | None = None
    try:
        with (
            (job.folder / FRAMES_NAME).open("w", encoding="utf-8") as lines,
            progress.bar("stream", len(clips), unit="clip") as report,
        ):

            def note(line: dict[str, Any]) -> None:
                kind, _, reason = line["kind"].partition(":")
                reasons[reason] += kind == "full"
                lines.write(json.dumps(line) + "\n")

            for done, clip in enumerate(clips, start=1):
                if clip.info.kind not in timed:  # times are of one clip of each kind, without the counter
                    if not timed:
                        scorer.times(clip)  # a clip to warm up
                    timed[clip.info.kind] = scorer.times(clip)
                scorer.score(clip, timed[clip.info.kind], note)
                lines.flush()
                report(done)
        status = "complete"
    except BaseException as error:
        failure = "interrupted" if isinstance(error, KeyboardInterrupt) else described(error)
        raise
    finally:
        record = _record(job, scorer, clips, list(timed.values()), status, failure)
        record.full_frames = {reason: count for reason, count in reasons.items() if count}
        if scorer.tallies:
            write_stream_record(record, job.folder)
    return record


def _record(
    job: Job,
    scorer: ClipScorer,
    clips: Sequence[Clip],
    timed: Sequence[Timed],
    status: Literal["partial", "complete"],
    failure: str | None,
) -> StreamRecord:
    """Return the record of the clips that were scored."""
    origin, compute, scores = provenance(job.compute.device), job.compute, scorer.scores()
    whole = scores.get("all", KindScores(clips=0, frames=0))
    ms = [value for clip in timed for value in clip[0]]
    full = [whole for clip in timed for whole in clip[1]]
    intervals = [later - earlier for clip in timed for earlier, later in pairwise(clip[2])]
    return StreamRecord(
        run_id=job.run_id,
        status=status,
        failure=failure,
        created_at=origin.moment,
        updated_at=origin.moment,
        harness=origin.software,
        command=origin.command,
        source=job.data.dataset.name,
        source_kind="dataset",
        lossless=all(clip.lossless for clip in clips),
        method=job.method.name,
        backbone=job.method.backbone,
        options=job.method.options.model_dump(mode="json"),
        artifact=digest_artifact(job.artifact.path if job.artifact else job.folder / ARTIFACT),
        policy=scorer.policy.model_dump(mode="json"),
        tasks=list(job.tasks),
        input_size=job.data.problem.input_size,
        device=compute.device.type,
        precision=compute.precision,
        threads=torch.get_num_threads() if compute.device.type == "cpu" else None,
        frames=whole.frames,
        times=frame_times(ms, full, intervals, clips[0].fps) if ms else None,
        macs=whole.macs,
        state_bytes=scorer.state_bytes,
        off_dense=whole.off_dense,
        kinds=scores,
        system_id=origin.system_id,
        environment=origin.environment,
        warnings=_warnings(clips),
    )


def _warnings(clips: Sequence[Clip]) -> list[str]:
    lossy = sum(not clip.lossless for clip in clips)
    return (
        [f"{lossy} of {len(clips)} clips were compressed with loss: their scores are of other pixels"] if lossy else []
    )
