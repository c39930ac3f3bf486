"""Execution of a job: from training to the record, resumed where an earlier try stopped."""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.backbones import Encoder
from harness.compute import seed_everything
from harness.data.augment import TrainTransform
from harness.data.loading import eval_batches, loader_fault
from harness.errors import HarnessError, MethodError, UsageError, described
from harness.events import EVENTS_NAME, Events
from harness.files import disk_fault, locked, new_folder, write_atomically
from harness.method import (
    Calibration,
    MultiTaskModel,
    Stage,
    accounting_of,
    build_model,
    extend_artifact,
    load_artifact,
    load_published,
    save_artifact,
)
from harness.predictions.writer import PredictionWriter
from harness.probes.environment import software
from harness.probes.memory import count_parameters
from harness.progress import RunProgress
from harness.recipe import held_out
from harness.records import RECORD_NAME, Phase, Record, read_record, write_record
from harness.records.calibration import write_walk
from harness.records.costs import Sparsity
from harness.records.metric import Metric
from harness.run.curves import write_curves
from harness.run.evaluate import evaluate
from harness.run.job import ARTIFACT, Job
from harness.run.pictures import frames_as_json, write_contact_sheet, write_heat_maps
from harness.run.record import new_record
from harness.tasks.per_image import PER_IMAGE_NAME, PerImage
from harness.training import parallel
from harness.training.loop import TrainingSetup, train
from harness.training.stages import FOLDER, StageStore
from harness.weights import WeightFile

CHECKPOINT = "checkpoint.pt"
"""Training state in the folder of a run, until the run is complete."""

CALIBRATION_IMAGES = 64
"""Training images that thresholds are chosen on; each candidate costs one evaluation of them."""


def execute(job: Job, progress: RunProgress, predictions: Path | None = None) -> Record:
    """Run a job, or go on with it where it stopped, and return its complete record.

    Args:
        job: The job.
        progress: Where progress is shown.
        predictions: Folder to save the predictions in; None to save none.

    Raises:
        UsageError: what another process left cannot be used.
        DataError: an image or label cannot be read.
        MethodError: the method failed; the record says so.
    """
    progress.title = job.title
    with contextlib.ExitStack() as stack:
        record = parallel.led(partial(_entered, job, stack, progress))
        if record.status == "complete":
            if predictions is not None:
                _evaluate(job, _exported(job), progress, predictions)
            return record
        if parallel.leading():
            progress.events = Events(job.folder / EVENTS_NAME)
        stack.callback(_end, job, record, progress)
        stages = [{"stage": stage.name, "iterations": stage.iterations} for stage in job.stages]
        progress.events.write("begin", stages=stages, **parallel.described())
        progress.say(f"runs in {job.folder}")
        try:
            _proceed(job, record, progress, predictions)
        except HarnessError as error:
            record.failure = str(error)
            _note(record, job.folder)
            raise
        except (Exception, SystemExit) as error:  # whatever a method raises is its failure
            if fault := parallel.lost(error) or loader_fault(error):
                record.failure = str(fault)
                _note(record, job.folder)
                raise fault from error
            if reason := disk_fault(error):
                record.failure = f"{job.folder}: {reason}"
                _note(record, job.folder)
                raise UsageError(f"{record.failure}; mend that and repeat the command to go on") from error
            record.status, record.failure = "failed", described(error)
            _note(record, job.folder)
            raise MethodError(record.failure) from error
    return record


def _end(job: Job, record: Record, progress: RunProgress) -> None:
    """Say what became of a job."""
    progress.events.write("end", status=record.status, failure=record.failure)
    progress.events = Events()
    progress.say(f"is {record.status} in {job.folder}")


def _entered(job: Job, stack: contextlib.ExitStack, progress: RunProgress) -> Record:
    """Lock the folder of a job until the stack is left, and return the record of an earlier try, or a new one."""
    job.folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locked(job.folder, lambda: progress.say("waits for another process that runs it")))
    for left in job.folder.glob("*.tmp"):  # of a process killed while it wrote
        with contextlib.suppress(OSError):  # of a disk that is only read
            left.unlink()
    if job.config.overwrite == "always":
        shutil.rmtree(job.folder / ARTIFACT, ignore_errors=True)
        for name in (RECORD_NAME, PER_IMAGE_NAME, CHECKPOINT, EVENTS_NAME):
            (job.folder / name).unlink(missing_ok=True)
    return _started(job)


def _note(record: Record, folder: Path) -> None:
    """Write the record of a failure where that can still be done: the disk may be what failed."""
    with contextlib.suppress(OSError):
        _write(record, folder)


def _write(record: Record, folder: Path) -> None:
    if parallel.leading():
        write_record(record, folder)


def _proceed(job: Job, record: Record, progress: RunProgress, predictions: Path | None) -> None:
    # 1. The artifact: given, converted from a published checkpoint, or trained.
    artifact = job.artifact.path if job.artifact else job.folder / ARTIFACT
    if not parallel.led(artifact.is_dir):
        if job.published is not None:
            with _phase(record, "convert", progress):
                _warn(record, parallel.led(partial(_convert, job, job.published)))
        else:
            with _phase(record, "train", progress, resumed=(job.folder / CHECKPOINT).is_file()):
                _train(job, record, progress)
        _write(record, job.folder)
    with _phase(record, "load", progress):
        # 2. What is measured is what is exported: the model as it comes out of its artifact.
        model = _exported(job)
    record.parameters = count_parameters(model, job.method)
    _write(record, job.folder)
    # 3. Accuracy, then pictures; the record is written whenever something new is known.
    with _phase(record, "evaluate", progress):
        per_image = PerImage(job.data.protocol)
        record.metrics = _evaluate(job, model, progress, predictions, per_image)
        record.per_image = parallel.led(partial(per_image.write, job.folder))
    record.sparsity = parallel.led(partial(_look_inside, job, model))
    record.status = "complete"
    _write(record, job.folder)
    if parallel.leading():
        (job.folder / CHECKPOINT).unlink(missing_ok=True)


def _look_inside(job: Job, model: MultiTaskModel) -> dict[str, Sparsity]:
    """Write pictures of predictions and of the layers; return the sparsity of each task."""
    write_contact_sheet(
        job.folder / "predictions.png",
        model,
        job.data.val,
        job.data.transform,
        job.tasks,
        job.data.protocol,
        job.compute.device,
    )
    batch = next(eval_batches(job.data.val, job.data.transform, job.config.batch_size))
    with torch.inference_mode(), job.compute.autocast():  # gates depend on the precision that is evaluated
        accounting = accounting_of(job.method)
        images = batch.images.to(job.compute.device)
        statistics, sparsity = accounting.layer_statistics(model, images), accounting.sparsity(model, images)
    if statistics:
        write_heat_maps(job.folder / "layers.png", statistics)
        write_atomically(job.folder / "layers.json", frames_as_json(statistics))
    return dict(sparsity)


def _convert(job: Job, published: WeightFile) -> list[str]:
    """Export the model of a published checkpoint; return notes for the record."""
    model, notes = load_published(job.method, job.data.problem, published)
    _export(job, model)
    return list(notes)


def _exported(job: Job) -> MultiTaskModel:
    folder = job.artifact.path if job.artifact else job.folder / ARTIFACT
    return job.compute.place(load_artifact(job.method, folder, job.data.problem.names))


def _train(job: Job, record: Record, progress: RunProgress) -> None:
    data, config = job.data, job.config
    assert data.train is not None
    seed_everything(job.seed)
    method, extend = job.method, job.extend
    model = build_model(method, data.problem) if extend is None else extend_artifact(method, extend.path, data.problem)
    model = model.to(job.compute.device)
    # Caveats of the initial weights, of the model and of its encoders.
    encoders = [note for module in model.modules() if isinstance(module, Encoder) for note in module.notes]
    _warn(record, [*model.notes, *encoders])
    _write(record, job.folder)

    def transform(stage: Stage) -> TrainTransform:
        return TrainTransform(data.problem.input_size, stage.augmentation, stage.tasks)

    setup = TrainingSetup(
        scenes=data.train,
        tasks=job.tasks,
        transform=transform,
        compute=job.compute.training(),
        seed=job.seed,
        workers=config.workers,
        checkpoint=job.folder / CHECKPOINT,
        save_every=config.save_every,
        progress=progress,
        # Several processes would have to agree on what each of them finds.
        store=StageStore(config.output / FOLDER, _origin(job)) if parallel.world() == 1 else None,
    )
    record.training = train(model, job.stages, setup)
    if any(stage.holds_out for stage in job.stages) and not held_out(len(data.train)):
        _warn(record, [f"of {len(data.train)} training images none is held out: settings were chosen on trained ones"])
    parallel.led(partial(_finish, job, model))


def _finish(job: Job, model: MultiTaskModel) -> None:
    """Calibrate a trained model and export it."""
    if isinstance(job.method, Calibration) and (walk := job.method.calibrate(model, partial(_score, job))):
        write_walk(walk, job.folder)
    write_curves(job.folder)
    _export(job, model)


def _origin(job: Job) -> dict[str, Any]:
    """Return what a trained stage depends on beside its recipe and the weights it starts from."""
    assert job.data.train is not None
    return {
        "train": job.data.train.fingerprint,
        "input size": job.data.problem.input_size,
        "seed": job.seed,
        "precision": job.config.precision,
        "device": job.compute.device.type,
        "deterministic": job.config.deterministic,
        "threads": torch.get_num_threads(),  # sums in another order
        "torch": torch.__version__,
        "harness": software().source,
    }


def _export(job: Job, model: MultiTaskModel) -> None:
    """Save the artifact of a model; it is there as a whole or not at all."""
    with new_folder(job.folder / ARTIFACT) as unfinished:
        save_artifact(job.method, model.cpu(), unfinished)
        if job.extend is not None:  # what exists stays as it is, byte for byte
            shutil.copytree(job.extend.path, unfinished, dirs_exist_ok=True)


def _warn(record: Record, notes: Iterable[str]) -> None:
    record.warnings = list(dict.fromkeys([*record.warnings, *notes]))  # a resumed run has them already


def _score(job: Job, model: MultiTaskModel, tasks: Sequence[str]) -> dict[str, Metric]:
    """Return headline metrics on the first training images, prepared as for evaluation; on those held out, if any."""
    assert job.data.train is not None
    left_out = held_out(len(job.data.train)) if any(stage.holds_out for stage in job.stages) else 0
    scenes, transform = job.data.calibration(left_out or CALIBRATION_IMAGES)
    batches = eval_batches(scenes, transform, job.config.batch_size)
    subjects = {name: task for name, task in job.tasks.items() if name in tasks}
    quiet = RunProgress(quiet=True)
    metrics = evaluate(model, batches, len(scenes), subjects, job.data.protocol, job.compute, quiet)
    return {task: next(iter(found.values())) for task, found in metrics.items()}


def _evaluate(
    job: Job, model: MultiTaskModel, progress: RunProgress, predictions: Path | None, per_image: PerImage | None = None
) -> dict[str, dict[str, Metric]]:
    data, config, tasks = job.data, job.config, job.tasks
    part = parallel.rank(), parallel.world()
    batches = eval_batches(data.val, data.transform, config.batch_size, config.workers, part)
    writer = PredictionWriter(predictions, tasks, data.transform) if predictions else None
    total, protocol = len(data.val), data.protocol
    return evaluate(model, batches, total, tasks, protocol, job.compute, progress, writer, per_image, shared=True)


def _started(job: Job) -> Record:
    """Return the record of an earlier try, or a new one."""
    if (job.folder / RECORD_NAME).is_file():
        record = read_record(job.folder)
        if job.config.overwrite == "never":
            raise UsageError(f"{job.folder} holds a {record.status} run already, and --overwrite is never")
        if record.harness.source not in (None, software().source):
            done = "was run" if record.status == "complete" else "was begun"
            note = f"{done} by other code of the harness, of commit {record.harness.git_commit or 'unknown'}"
            job.warnings.append(f"{job.title} {note}; --overwrite always runs it again")
            if record.status != "complete":
                _warn(record, [note])
        if record.status == "complete":
            return record
        record.status, record.failure = "partial", None
        return record
    record = new_record(job)
    write_record(record, job.folder)
    return record


@contextlib.contextmanager
def _phase(record: Record, name: str, progress: RunProgress, resumed: bool = False) -> Iterator[None]:
    start = time.perf_counter()
    progress.events.write("phase", phase=name, resumed=resumed)
    yield
    record.phases.append(Phase(name=name, seconds=time.perf_counter() - start, resumed=resumed))
