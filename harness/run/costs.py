"""The costs of the finished runs of a matrix."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from harness.data.loading import eval_batches
from harness.data.sample import Batch
from harness.errors import UsageError
from harness.export.runtime import execution_of
from harness.files import locked, writing_to
from harness.measurement import Candidate, Inputs, Outcome, Setting, measure
from harness.probes.candidate import holds
from harness.probes.rules import LatencyRules
from harness.progress import RunProgress
from harness.records import Record
from harness.run.job import ARTIFACT, Job

_OF_EVERY_SEED = ("macs", "storage")
"""Probes whose values may depend on the weights; those of the others are the same for all seeds."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        job: What was run.
        record: Its complete record.
    """

    job: Job
    record: Record


def measure_runs(runs: Sequence[Run], probes: tuple[str, ...], outcome: Outcome, progress: RunProgress) -> None:
    """Measure every requested cost that the records of finished runs lack.

    The runs on one data set are measured together, so that their latencies can be compared. Of several seeds of a
    method, the first stands for all in what does not follow from the weights.

    Args:
        runs: Of one matrix.
        probes: Probes that are wanted.
        outcome: Takes failures and warnings.
        progress: Where progress is shown.
    """
    for name in dict.fromkeys(run.record.dataset.name for run in runs):
        progress.title = f"costs on {name}:"
        group = [run for run in runs if run.record.dataset.name == name]
        job = group[0].job
        # Rules that take moderate time: a run is for accuracy, and `harness bench` for exact costs.
        seconds = job.config.min_seconds
        rules = replace(LatencyRules.for_device(job.compute.device), min_seconds=seconds, max_seconds=2 * seconds)
        try:
            with writing_to(f"-o {job.config.output}"), contextlib.ExitStack() as stack:
                for run in group:
                    stack.enter_context(locked(_folder(run)))
                measure(
                    _candidates(group, probes, outcome),
                    _inputs(job),
                    Setting(job.compute, rules, execution=execution_of(job.config)),
                    outcome,
                    progress,
                )
        except UsageError as error:  # another process is at one of them, or the disk is full
            outcome.failures.append((progress.title, error))


def _candidates(group: Sequence[Run], probes: tuple[str, ...], outcome: Outcome) -> list[Candidate]:
    """Return the runs that can be measured, each with what is wanted of it."""
    first: dict[str, int] = {}
    candidates = []
    for run in group:
        job, folder = run.job, _folder(run)
        artifact = job.artifact.path if job.artifact else folder / ARTIFACT
        if not artifact.is_dir():  # records may be kept without what they are of
            if not all(holds(run.record, probe) for probe in probes):
                outcome.warnings.append(f"{job.title} costs are not measured, for {artifact} is not here")
            continue
        wanted = probes
        if (seed := first.setdefault(job.method.name, job.seed)) != job.seed:
            wanted = tuple(probe for probe in probes if probe in _OF_EVERY_SEED)
            left = [probe for probe in probes if probe not in wanted and not holds(run.record, probe)]
            run.record.unmeasured |= dict.fromkeys(left, f"seed {seed} stands for all seeds")
        candidates.append(Candidate(job.method, artifact, job.data.problem.names, run.record, folder, wanted))
    return candidates


def _folder(run: Run) -> Path:
    return run.job.config.output / run.record.run_id


def _inputs(job: Job) -> Inputs:
    """Return the validation images: one at a time for costs, in batches of the loader for the end-to-end rate."""
    data, workers = job.data, job.config.workers

    def images() -> Iterator[Tensor]:
        return (batch.images for batch in eval_batches(data.val, data.transform, 1))

    def batches(size: int) -> Iterable[Batch]:
        return eval_batches(data.val, data.transform, size, workers)

    return Inputs(images, batches)
