"""The matrix of methods, data sets and seeds: from a configuration to records."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.compute import Compute, pick_device
from harness.config import RunConfig
from harness.data.clips import VideoDataset
from harness.data.loading import WHOLE
from harness.data.open import OpenedData, open_data
from harness.errors import HarnessError, MethodError, UsageError, described
from harness.export.runtime import check_runtime
from harness.export.settings import ITSELF
from harness.files import check_writable, writing_to
from harness.measurement import Outcome
from harness.method import MatchedEffort, Method
from harness.probes.catalog import select
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records import RECORD_NAME, read_record
from harness.records.gain import fill_gains
from harness.records.store import check_store, publish
from harness.registry import load_dataset, load_plugin
from harness.run.configure import check_artifact, configure, method_of, split_settings
from harness.run.costs import Run, measure_runs
from harness.run.execute import execute
from harness.run.job import ARTIFACT, Artifact, Job, images_of, recipe_of, title_of
from harness.run.stream import policy_of
from harness.run.track import check_trackers
from harness.run.train import CHECKPOINT, execute_part
from harness.training import parallel
from harness.training.parts import Part, parts_of
from harness.weights import WeightFile


def run(
    config: RunConfig,
    shard: tuple[int, int] = WHOLE,
    failed: Mapping[int, HarnessError] | None = None,
    collect: bool = False,
    part: str | None = None,
) -> Outcome:
    """Run every cell of the matrix; cells that are complete already are read, not repeated.

    A cell that fails does not stop the others. Costs are measured last, those of all methods together, and only
    where they are not known yet. Of several processes that a launcher started, all share every cell; the first one
    writes, measures costs and returns the records.

    Args:
        config: The matrix.
        shard: (i, n): run every n-th cell from number i on, and measure no costs, which are compared across cells.
        failed: Cells by number that a launcher has tried already; they are not tried again.
        collect: Whether to read the cells that are complete alone; the others are failures.
        part: Train this part of the cells and nothing else; there are no records then.

    Raises:
        UsageError: a wrong name, option or file; nothing was run.
        DataError: a data set is missing or unusable; nothing was run.
    """
    outcome = Outcome(config.output)
    for plugin in config.plugin:  # which may define probes, too
        load_plugin(plugin)
    probes = select(config.probe)
    check_trackers(config.track)
    if config.publish:
        check_store(config.publish)
    with parallel.joined(config.device):
        progress = RunProgress(quiet=config.quiet or not parallel.leading())
        if part is not None:
            for job in jobs_of(config, outcome, shard, {}):
                progress.title = job.title
                execute_part(job, part, progress)
            return outcome
        finished = _finished(config, progress, outcome, shard, failed or {}, collect)
    if not parallel.leading():
        return Outcome(config.output, failures=outcome.failures)
    outcome.records = [run.record for run in finished]
    before = [run.record.model_copy(deep=True) for run in finished if not run.job.begun]
    if shard != WHOLE:
        _publish(outcome, config.publish)
        return outcome
    try:
        fill_gains(outcome.records, config.output)
    except OSError as error:  # finished runs may lie on a disk that is only read
        outcome.warnings.append(f"-o {config.output}: gains are not written ({error.strerror})")
    measure_runs(finished, probes, outcome, progress)
    outcome.idle = bool(finished) and before == outcome.records and not outcome.failures
    _publish(outcome, config.publish)
    return outcome


def _publish(outcome: Outcome, url: str | None) -> None:
    for record in outcome.records if url else []:
        try:
            publish(outcome.output / record.run_id, str(url), record.run_id)
        except UsageError as error:
            outcome.failures.append((f"{record.run_id}:", error))


def _finished(
    config: RunConfig,
    progress: RunProgress,
    outcome: Outcome,
    shard: tuple[int, int],
    failed: Mapping[int, HarnessError],
    collect: bool,
) -> list[Run]:
    """Return the cells that were run to their end; the others are failures of the outcome.

    Raises:
        HarnessError: this process failed, or lost the others, and cannot go on with them.
    """
    jobs = list(jobs_of(config, outcome, shard, failed))
    if config.save_predictions is not None:
        check_writable("--save-predictions", config.save_predictions)  # before hours of training, not after
    finished = []
    for job in jobs:
        predictions = config.save_predictions
        if predictions is not None and len(jobs) > 1:
            predictions = predictions / job.run_id
        try:
            if collect:
                _check_complete(job)
            with writing_to(f"-o {config.output}"):
                record = execute(job, progress, predictions)
        except HarnessError as error:
            if parallel.apart(error, job.run_id):
                raise
            outcome.failures.append((job.title, error))
        else:
            finished.append(Run(job, record))
            outcome.warnings += job.warnings
    return finished


def parts_to_train(config: RunConfig) -> dict[int, list[Part]]:
    """Return the parts of the cells that can be trained side by side, by the number of the cell.

    Cells that have begun otherwise, or whose training is one chain of stages, have none.

    Raises:
        UsageError: a wrong name, option or file.
        DataError: a data set is missing or unusable.
    """
    for plugin in config.plugin:
        load_plugin(plugin)
    cells = list(itertools.product(config.dataset, config.method, config.seed))
    found = {}
    for job in jobs_of(config, Outcome(config.output), WHOLE, {}):
        begun = any((job.folder / name).exists() for name in (ARTIFACT, CHECKPOINT))
        parts = [] if begun or config.overwrite == "always" else parts_of(job.stages)
        if len(parts) > 1:
            found[cells.index((job.data.dataset.name, job.method.name, job.seed))] = parts
    return found


def _check_complete(job: Job) -> None:
    """Raise what keeps a cell from being read alone."""
    if not (job.folder / RECORD_NAME).is_file():
        raise MethodError("was not begun")
    record = read_record(job.folder)
    if record.status != "complete":
        raise MethodError(record.failure or "has not ended; repeat its command to go on")


def start_of(path: Path | None) -> Artifact | WeightFile | None:
    """Return what ``--checkpoint`` names: the folder of an artifact, or the file of a published checkpoint.

    Raises:
        UsageError: there is neither.
    """
    if path is None:
        return None
    if path.is_file():
        return WeightFile(path)
    if not path.exists():
        raise UsageError(f"--checkpoint {path}: no such file or folder")
    return Artifact(path)


def jobs_of(
    config: RunConfig, outcome: Outcome, shard: tuple[int, int], failed: Mapping[int, HarnessError]
) -> Iterator[Job]:
    """Yield the cells of the matrix; those whose method gives no recipe are failures of the outcome."""
    # 1. Everything a user may have mistyped, before anything is run.
    compute = Compute(pick_device(config.device), config.precision)
    compute.set_switches(config.deterministic)
    protocol = Protocol.profile(config.protocol, config.protocol_set)
    if config.runtime not in ITSELF and config.checkpoint is None:
        raise UsageError(f"--runtime {config.runtime} serves a trained model; name it with --checkpoint")
    check_runtime(config.runtime, compute.device)
    start = start_of(config.checkpoint)
    extend = Artifact(config.extend) if config.extend else None
    if isinstance(start, WeightFile):
        config = config.model_copy(update={"budget": "full"})  # it was trained by the recipe of its paper
    given = start if isinstance(start, Artifact) else extend
    if given is not None:
        method_of(given.manifest, given.path)
    source = f"--checkpoint {config.checkpoint}" if config.checkpoint else f"--extend {config.extend}"
    if (config.checkpoint or config.extend) and len(config.method) > 1:
        raise UsageError(f"{source}: belongs to one method, {len(config.method)} are given")
    backbone = config.backbone or (given.manifest.backbone if given else None)
    stored = given.manifest.options if given else None
    policy_of(config)  # a wrong setting of the stream is named before anything is run
    own, streams = split_settings(config.set)
    methods = configure(config.method, backbone, own, config.weights, config.budget, stored)
    for place, name in enumerate(config.dataset):
        cells = list(enumerate(itertools.product(methods, config.seed), place * len(methods) * len(config.seed)))
        cells = [(number, cell) for number, cell in cells if number % shard[1] == shard[0]]
        if not cells:
            continue
        # 2. The data, read once for all methods and seeds.
        dataset = load_dataset(name).for_budget(config.budget)
        if streams and not isinstance(dataset, VideoDataset):
            raise UsageError(
                f"--set stream.{next(iter(streams))}: {name} has no clips to stream; it goes with -d of video"
            )
        training = config.checkpoint is None or config.quantise == "static"  # which is calibrated on training images
        data = open_data(dataset, config.data_root, config.task, protocol, config.limit, training, config.input_size)
        if given is not None:
            check_artifact(given.manifest, methods[0], data.problem, name, source, extend is not None)
        # 3. What every task is given at most, for methods that match it.
        matching = config.checkpoint is None and any(isinstance(method, MatchedEffort) for method in methods)
        effort = _most_images(methods, data, config, extend) if matching else {}
        # 4. The cells.
        for number, (method, seed) in cells:
            if number in failed:
                outcome.failures.append((title_of(method, data, seed), failed[number]))
                continue
            try:
                yield Job(method, data, seed, config, compute, start, extend, effort)
            except UsageError:  # an option that does not fit the data
                raise
            except HarnessError as error:
                outcome.failures.append((title_of(method, data, seed), error))
            except (Exception, SystemExit) as error:  # whatever a method raises is its failure
                outcome.failures.append((title_of(method, data, seed), MethodError(described(error))))


def _most_images(
    methods: Sequence[Method], data: OpenedData, config: RunConfig, extend: Artifact | None
) -> dict[str, int]:
    """Return the images of every task that the methods which match none are trained on, at most."""
    most: dict[str, int] = {}
    for method in methods:
        if isinstance(method, MatchedEffort):
            continue
        try:
            images = images_of(recipe_of(method, data, config, extend))
        except HarnessError:  # its own cell says so
            continue
        most = {task: max(most.get(task, 0), images.get(task, 0)) for task in {**most, **images}}
    return most
