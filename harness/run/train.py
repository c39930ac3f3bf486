"""Training of a job: in one go, or joined from parts that were trained side by side."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from harness.backbones import Encoder
from harness.compute import seed_everything
from harness.data.augment import TrainTransform
from harness.errors import HarnessError, MethodError, UsageError, described
from harness.events import EVENTS_NAME, Events, read_events
from harness.export.settings import Aided
from harness.files import locked
from harness.method import MultiTaskModel, Stage, build_model, extend_artifact
from harness.probes.environment import software
from harness.progress import RunProgress
from harness.recipe import Aids, held_out
from harness.records import Record, StageInfo, write_record
from harness.run.job import ARTIFACT, Job
from harness.training import parallel
from harness.training.loop import TrainingSetup, train
from harness.training.parts import Kept, Part, join, parts_of, train_part
from harness.training.stages import FOLDER, StageStore

CHECKPOINT = "checkpoint.pt"
"""Training state in the folder of a run, until the run is complete."""

PARTS = "parts"
"""Folder of the parts in that of a run, until the run is complete."""

_KEPT = "kept.pt"


class RefusedError(UsageError):
    """A model that cannot be made as it was asked for: nothing was done, and nothing is to be kept."""


def train_job(job: Job, record: Record, progress: RunProgress) -> MultiTaskModel:
    """Return the trained model of a job; the record gets its training and warnings.

    Where a launcher has begun parts of it, those that are left are trained here, and all are joined.

    Raises:
        MethodError: the method failed.
    """
    try:
        model = _untrained(job)
    except UsageError as error:
        raise RefusedError(str(error)) from error
    # Caveats of the initial weights, of the model and of its encoders.
    encoders = [note for module in model.modules() if isinstance(module, Encoder) for note in module.notes]
    warn(record, [*model.notes, *encoders])
    if parallel.leading():
        write_record(record, job.folder)
    begun = (job.folder / PARTS).is_dir() and not (job.folder / CHECKPOINT).is_file()
    if begun and parallel.world() == 1:
        record.training = _joined(job, model, progress)
    else:
        record.training = train(model, job.stages, _setup(job, job.folder, progress))
    assert job.data.train is not None
    if any(stage.holds_out for stage in job.stages) and not held_out(len(job.data.train)):
        images = len(job.data.train)
        warn(record, [f"of {images} training images none is held out: settings were chosen on trained ones"])
    return model


def _joined(job: Job, model: MultiTaskModel, progress: RunProgress) -> list[StageInfo]:
    """Train the parts that are not trained yet, and join all; the log of the run takes over what theirs say."""
    parts = parts_of(job.stages)
    log = progress.events
    for part in parts:
        execute_part(job, part.name, progress)
        progress.events = log
        with contextlib.suppress(OSError), (job.folder / EVENTS_NAME).open("ab") as whole:
            whole.write((_folder(job, part) / EVENTS_NAME).read_bytes())
        for event in read_events(_folder(job, part) / EVENTS_NAME):
            for sink in log.sinks:
                sink(event)
    training = join(model, parts, {part.name: Kept.read(_folder(job, part) / _KEPT) for part in parts})
    # Stages that were trained in other artifacts are counted where they stand.
    known = {info.name: info for info in training}
    for info in train(model, [stage for stage in job.stages if stage.elsewhere], _setup(job, job.folder, progress)):
        known[info.name] = info
    model.train()
    return [known[stage.name] for stage in job.stages]


def execute_part(job: Job, name: str, progress: RunProgress) -> None:
    """Train a part of a job, or go on with it, unless it is done or the job needs it no more.

    Raises:
        MethodError: the method failed.
    """
    parts = {part.name: part for part in parts_of(job.stages)}
    if name not in parts:
        raise MethodError(f"has no part {name}; its parts are {', '.join(parts)}")
    part, folder = parts[name], job.folder / PARTS / name
    if (job.folder / ARTIFACT).is_dir() or (job.folder / CHECKPOINT).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, lambda: progress.say(f"waits for another process that trains {name}")):
        if (folder / _KEPT).is_file():
            return
        progress.events = Events(folder / EVENTS_NAME)
        stages = [{"stage": stage.name, "iterations": stage.iterations} for stage in part.stages]
        progress.events.write("begin", stages=stages)
        failure = None
        try:
            before = [Kept.read(job.folder / PARTS / other / _KEPT) for other in part.before]
            train_part(_untrained(job), part, before, _setup(job, folder, progress)).write(folder / _KEPT)
        except HarnessError as error:
            failure = str(error)
            raise
        except (Exception, SystemExit) as error:  # whatever a method raises is its failure
            failure = described(error)
            raise MethodError(failure) from error
        finally:
            status = "complete" if (folder / _KEPT).is_file() else "failed" if failure else "partial"
            progress.events.write("end", status=status, failure=failure)
            progress.events = Events()
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _folder(job: Job, part: Part) -> Path:
    return job.folder / PARTS / part.name


def _untrained(job: Job) -> MultiTaskModel:
    """Return the model of a job as it was built, the same in every process."""
    seed_everything(job.seed)
    method, extend = job.method, job.extend
    problem = job.data.problem
    model = build_model(method, problem) if extend is None else extend_artifact(method, extend.path, problem)
    return model.to(job.compute.device)


def _setup(job: Job, folder: Path, progress: RunProgress) -> TrainingSetup:
    data, config = job.data, job.config
    assert data.train is not None

    def transform(stage: Stage) -> TrainTransform:
        return TrainTransform(data.problem.input_size, stage.augmentation, stage.tasks)

    return TrainingSetup(
        scenes=data.train,
        tasks=job.tasks,
        transform=transform,
        compute=job.compute.training(),
        seed=job.seed,
        workers=config.workers,
        checkpoint=folder / CHECKPOINT,
        save_every=config.save_every,
        progress=progress,
        # Several processes would have to agree on what each of them finds.
        store=StageStore(config.output / FOLDER, _origin(job)) if parallel.world() == 1 else None,
        aids=Aids(**config.model_dump(include=set(Aided.model_fields))),
    )


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
        **job.config.model_dump(include=set(Aided.model_fields)),
        "threads": torch.get_num_threads(),  # sums in another order
        "torch": torch.__version__,
        "harness": software().source,
    }


def warn(record: Record, notes: Iterable[str]) -> None:
    """Add warnings to a record, each once: a resumed run has them already."""
    record.warnings = list(dict.fromkeys([*record.warnings, *notes]))
