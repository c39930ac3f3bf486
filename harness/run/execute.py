"""Execution of a job: from training to the record, resumed where an earlier try stopped."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from harness.data.clips import ClipReader
from harness.data.loading import eval_batches, loader_fault
from harness.errors import HarnessError, MethodError, UsageError, described
from harness.events import EVENTS_NAME, Events
from harness.export.runtime import deploy
from harness.export.settings import ITSELF
from harness.files import disk_fault, locked, new_folder, write_atomically
from harness.method import (
    Calibration,
    MultiTaskModel,
    accounting_of,
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
from harness.records.stream import STREAM_RECORD
from harness.run.curves import write_curves
from harness.run.evaluate import evaluate
from harness.run.job import ARTIFACT, Job
from harness.run.join import TRAINING, training_beside
from harness.run.pictures import frames_as_json, write_contact_sheet, write_heat_maps
from harness.run.record import new_record
from harness.run.stream import FRAMES_NAME, stream_clips
from harness.run.track import Tracking
from harness.run.train import CHECKPOINT, PARTS, RefusedError, train_job, warn
from harness.tasks.per_image import PER_IMAGE_NAME, PerImage
from harness.training import parallel
from harness.weights import WeightFile

INT8_IMAGES = 16
"""Training images that the scales of 8-bit activations are taken from."""

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
                _evaluate(job, _served(job, _exported(job)), progress, predictions)
            return record
        job.begun = True
        if parallel.leading():
            tracking = Tracking(job.config.track, job.config.output, job.run_id, job.identity)
            progress.events = Events(job.folder / EVENTS_NAME, [tracking])
            stack.callback(tracking.close, record)
        stack.callback(_end, job, record, progress)
        stages = [{"stage": stage.name, "iterations": stage.iterations} for stage in job.stages]
        progress.events.write("begin", stages=stages, **parallel.described())
        progress.say(f"runs in {job.folder}")
        try:
            _proceed(job, record, progress, predictions)
        except RefusedError:
            stack.callback(_forget, job, record)
            raise
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


def _forget(job: Job, record: Record) -> None:
    """Remove the folder of a cell that was refused, unless an earlier try left something in it."""
    held = {path.name for path in job.folder.iterdir()}
    if parallel.leading() and not record.phases and held <= {RECORD_NAME, EVENTS_NAME, ".lock", ".lease"}:
        shutil.rmtree(job.folder, ignore_errors=True)


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
        for name in (ARTIFACT, PARTS):
            shutil.rmtree(job.folder / name, ignore_errors=True)
        for name in (RECORD_NAME, PER_IMAGE_NAME, CHECKPOINT, EVENTS_NAME, STREAM_RECORD, FRAMES_NAME):
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
                warn(record, parallel.led(partial(_convert, job, job.published)))
        else:
            with _phase(record, "train", progress, resumed=(job.folder / CHECKPOINT).is_file()):
                model = train_job(job, record, progress)
                parallel.led(partial(_finish, job, model))
        _write(record, job.folder)
    if job.artifact is not None and (artifact.parent / TRAINING).is_file():
        record.training = training_beside(artifact)
    with _phase(record, "load", progress):
        # 2. What is measured is what is exported: the model as it comes out of its artifact.
        model = _exported(job)
        served = _served(job, model)
    record.parameters = count_parameters(model, job.method)
    _write(record, job.folder)
    # 3. Accuracy, then pictures; the record is written whenever something new is known.
    with _phase(record, "evaluate", progress):
        per_image = PerImage(job.data.protocol)
        record.metrics = _evaluate(job, served, progress, predictions, per_image)
        record.per_image = parallel.led(partial(per_image.write, job.folder))
    record.sparsity = parallel.led(partial(_look_inside, job, model, served))
    # 4. Of video data sets the clips, through the model's stream, in a record of their own.
    if isinstance(job.data.val.reader, ClipReader):
        with _phase(record, "stream", progress):
            parallel.led(partial(stream_clips, job, model, job.data.val.reader, progress))
    record.status = "complete"
    _write(record, job.folder)
    if parallel.leading():
        (job.folder / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(job.folder / PARTS, ignore_errors=True)


def _look_inside(job: Job, model: MultiTaskModel, served: MultiTaskModel) -> dict[str, Sparsity]:
    """Write pictures of predictions and of the layers; return the sparsity of each task."""
    write_contact_sheet(
        job.folder / "predictions.png",
        served,
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


def _served(job: Job, model: MultiTaskModel) -> MultiTaskModel:
    """Return the model as the runtime of the command serves it; the same one for PyTorch."""
    runtime, quantise, data = job.config.runtime, job.config.quantise, job.data
    if runtime is None or runtime in ITSELF:
        return model
    scenes, transform = data.val, data.transform
    if quantise == "static":  # scales of activations come from images that are not scored
        scenes, transform = data.calibration(INT8_IMAGES)
    images = [batch.images for batch in islice(eval_batches(scenes, transform, 1), INT8_IMAGES)]
    return deploy(model, images[0].to(job.compute.device), runtime, quantise, images)


def _finish(job: Job, model: MultiTaskModel) -> None:
    """Calibrate a trained model and export it."""
    if isinstance(job.method, Calibration) and (walk := job.method.calibrate(model, partial(_score, job))):
        write_walk(walk, job.folder)
    write_curves(job.folder)
    _export(job, model)


def _export(job: Job, model: MultiTaskModel) -> None:
    """Save the artifact of a model; it is there as a whole or not at all."""
    with new_folder(job.folder / ARTIFACT) as unfinished:
        save_artifact(job.method, model.cpu(), unfinished)
        if job.extend is not None:  # what exists stays as it is, byte for byte
            shutil.copytree(job.extend.path, unfinished, dirs_exist_ok=True)


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
                warn(record, [note])
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
