"""Plan of a matrix: what each cell would do, what is there already, and about how long and how large it will be."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from harness.config import RunConfig
from harness.data.loading import WHOLE
from harness.errors import HarnessError, described
from harness.measurement import Outcome
from harness.method import Stage, build_model
from harness.model import MultiTaskModel
from harness.probes.candidate import holds
from harness.probes.catalog import select
from harness.records import RECORD_NAME, Record, read_record
from harness.registry import load_plugin
from harness.run.job import ARTIFACT, Job
from harness.run.matrix import jobs_of
from harness.run.train import CHECKPOINT
from harness.training.checkpoint import load_checkpoint

_SLOW = 5.0
"""Seconds of a first step from which on no second one is timed."""

Does = Literal["nothing to do", "measures costs", "evaluates", "converts", "goes on", "trains"]


@dataclass(frozen=True)
class Planned:
    """Work of one cell of a matrix.

    Attributes:
        title: Method, data set and seed.
        run_id: Its folder below the results folder.
        does: First thing that it would do.
        detail: Stages with their steps, or the costs that are missing.
        seconds: Estimate of its time, from steps that were timed on random weights; 0 where nothing is to be done,
            None where they cannot be timed.
        artifact_bytes: Bytes of its artifact, at most, as far as it is not there yet.
        checkpoint_bytes: Bytes of the training checkpoint, which is deleted at the end.
    """

    title: str
    run_id: str
    does: Does
    detail: str
    seconds: float | None
    artifact_bytes: int
    checkpoint_bytes: int


def plan(config: RunConfig, shard: tuple[int, int] = WHOLE) -> tuple[list[Planned], Outcome]:
    """Return what every cell of a matrix would do, and the cells that cannot be run; nothing is run or written.

    The data are opened as a run opens them: what was never rendered or decoded is, into the cache.

    Args:
        config: The matrix.
        shard: (i, n): every n-th cell from number i on.

    Raises:
        UsageError: a wrong name, option or file.
        DataError: a data set is missing or unusable.
    """
    outcome = Outcome(config.output)
    for plugin in config.plugin:
        load_plugin(plugin)
    probes = select(config.probe)
    return [_planned(job, probes) for job in jobs_of(config, outcome, shard, {})], outcome


def _planned(job: Job, probes: tuple[str, ...]) -> Planned:
    record = read_record(job.folder) if (job.folder / RECORD_NAME).is_file() else None
    done = record if job.config.overwrite != "always" else None
    if done is not None and done.status == "complete":
        left = [probe for probe in probes if not holds(done, probe) and probe not in done.unmeasured]
        seconds = 2 * job.config.min_seconds if "latency" in left else 0.0
        does: Does = "measures costs" if left else "nothing to do"
        return Planned(job.title.rstrip(":"), job.run_id, does, ", ".join(left), seconds, 0, 0)
    stages, does = _left(job, done)
    try:
        timed = _Timed(job, stages)
        seconds, weights, state = timed.seconds, timed.artifact, timed.checkpoint
    except (Exception, SystemExit) as error:  # whatever a method raises; its run says more
        return Planned(job.title.rstrip(":"), job.run_id, does, f"cannot be timed ({described(error)})", None, 0, 0)
    steps = ", ".join(f"{stage.name} {stage.iterations} steps" for stage in stages)
    there = does == "evaluates"
    return Planned(
        job.title.rstrip(":"), job.run_id, does, steps, seconds, 0 if there else weights, state if stages else 0
    )


def _left(job: Job, record: Record | None) -> tuple[list[Stage], Does]:
    """Return the stages that are to be trained, with the steps that are left of each."""
    if job.artifact is not None or (record is not None and (job.folder / ARTIFACT).is_dir()):
        return [], "evaluates"
    if job.published is not None:
        return [], "converts"
    stages = [stage for stage in job.stages if stage.elsewhere is None]
    try:
        kept = load_checkpoint(job.folder / CHECKPOINT) if record is not None else None
    except HarnessError:  # it is damaged; the run says so
        kept = None
    if kept is None:
        return stages, "trains"
    left = [
        Stage(
            stage.name, stage.tasks, stage.iterations - (kept.iteration if index == kept.stage else 0), stage.batch_size
        )
        for index, stage in enumerate(job.stages)
        if index >= kept.stage and stage.elsewhere is None
    ]
    return left, "goes on"


class _Timed:
    """Time and size of a job, from a model on random weights and random images."""

    def __init__(self, job: Job, stages: list[Stage]) -> None:
        method, device = job.method, job.compute.device
        model = build_model(type(method)(method.options, method.backbone), job.data.problem).to(device)
        count = {name: value.numel() * value.element_size() for name, value in model.state_dict().items()}
        trained = sum(value.numel() * value.element_size() for value in model.parameters())
        self.artifact = sum(count.values())
        self.checkpoint = self.artifact + 2 * trained  # with both moments of Adam
        step: dict[tuple[tuple[str, ...], int], float] = {}
        self.seconds = 0.0
        for stage in stages:
            key = stage.tasks, stage.batch_size
            if key not in step:
                step[key] = min(_passes(job, model, *key, training=True))
            self.seconds += step[key] * stage.iterations
        batch = min(job.config.batch_size, len(job.data.val))
        forward = min(_passes(job, model, job.data.problem.names, batch, training=False))
        self.seconds += forward * len(job.data.val) / batch


def _passes(
    job: Job, model: MultiTaskModel, tasks: tuple[str, ...], batch_size: int, training: bool
) -> Iterator[float]:
    """Yield the seconds of some passes of a batch, backward too in training: three, or one where that is slow."""
    device = job.compute.device
    images = torch.randn(batch_size, 3, *job.data.problem.input_size, device=device)
    model.train(training)
    for _ in range(3):
        start = time.perf_counter()
        with torch.set_grad_enabled(training), job.compute.autocast():
            output = model.forward_train(images, tasks).predictions if training else model(images, tasks)
            total = torch.stack([value.float().mean() for value in output.values()]).sum()
        if training:
            total.backward()  # type: ignore[no-untyped-call]
        float(total)  # waits for a GPU
        taken = time.perf_counter() - start
        yield taken
        if taken > _SLOW:
            return
