"""From a configuration to records: the matrix of methods, data sets and seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.compute import pick_device, set_precision
from harness.config import RunConfig
from harness.data.open import open_data
from harness.errors import HarnessError, UsageError
from harness.measurement import Findings
from harness.method import Method
from harness.probes.catalog import select
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records import Record
from harness.records.gain import fill_gains
from harness.registry import load_dataset, load_plugin
from harness.run.configure import check_artifact, configure, method_of
from harness.run.costs import Run, measure_runs
from harness.run.execute import execute
from harness.run.job import Job
from harness.run.published import artifact_or_published
from harness.weights.artifact import Manifest, read_manifest


@dataclass
class Outcome:
    """What became of a matrix.

    Attributes:
        output: Results folder.
        records: Complete records, in the order of the matrix.
        failures: (title of the run, error) of those that failed.
        warnings: What a user should know of the figures at once; records have it too.
    """

    output: Path
    records: list[Record] = field(default_factory=list)
    failures: list[tuple[str, HarnessError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run(config: RunConfig, command: list[str]) -> Outcome:
    """Run every cell of the matrix; cells that are complete already are read, not repeated.

    A cell that fails does not stop the others. Costs are measured last, those of all methods together, and only
    where they are not known yet.

    Args:
        config: The matrix.
        command: Command line to store with the records.

    Raises:
        UsageError: a wrong name, option or file; nothing was run.
        DataError: a data set is missing or unusable; nothing was run.
    """
    progress = RunProgress(quiet=config.quiet)
    outcome = Outcome(config.output)
    probes = select(config.probe)
    finished = []
    for job in _saving(config.save_predictions, list(_jobs(config, command))):
        try:
            finished.append(Run(job, execute(job, progress)))
        except HarnessError as error:
            outcome.failures.append((job.title, error))
    outcome.records = [run.record for run in finished]
    fill_gains(outcome.records, config.output)
    findings = Findings()
    measure_runs(finished, probes, findings, progress)
    outcome.failures += findings.failures
    outcome.warnings += findings.warnings
    return outcome


def _saving(folder: Path | None, jobs: list[Job]) -> list[Job]:
    """Give every job a place for its predictions: ``folder``, or one below it where there are several jobs."""
    if folder is None:
        return jobs
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    except OSError as error:
        raise UsageError(f"--save-predictions {folder}: {error.strerror}") from error
    if len(jobs) == 1:
        return [replace(jobs[0], predictions=folder)]
    return [replace(job, predictions=folder / job.run_id) for job in jobs]


def _jobs(config: RunConfig, command: list[str]) -> Iterator[Job]:
    for plugin in config.plugin:
        load_plugin(plugin)
    device = pick_device(config.device)
    set_precision(device, config.precision)
    protocol = Protocol.profile(config.protocol, config.protocol_set)
    artifact, published = artifact_or_published(config.checkpoint)
    if published is not None:
        config = config.model_copy(update={"budget": "full"})  # it was trained by the recipe of its paper
    given = artifact or config.extend
    manifest = None if given is None else read_manifest(given)
    if manifest is not None and given is not None:
        method_of(manifest, given)
    methods = _methods(config, manifest)
    for name in config.dataset:
        dataset = load_dataset(name)
        training = config.checkpoint is None
        data = open_data(dataset, config.data_root, config.task, protocol, config.limit, training, config.input_size)
        if manifest is not None:
            extend = config.extend is not None
            check_artifact(manifest, methods[0], data.problem, data.dataset.name, _source(config), extend)
        for method in methods:
            for seed in config.seed:
                yield Job(method, data, seed, config, command, device, artifact, published, config.extend)


def _methods(config: RunConfig, manifest: Manifest | None) -> list[Method]:
    if (config.checkpoint or config.extend) and len(config.method) > 1:
        raise UsageError(f"{_source(config)}: belongs to one method, {len(config.method)} are given")
    backbone = config.backbone or (manifest.backbone if manifest else None)
    stored = manifest.options if manifest else None
    return configure(config.method, backbone, config.set, config.weights, config.budget, stored)


def _source(config: RunConfig) -> str:
    return f"--checkpoint {config.checkpoint}" if config.checkpoint else f"--extend {config.extend}"
