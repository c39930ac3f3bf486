"""One cell of the matrix: one method on one data set with one seed, from training to its record."""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from harness.artifact import read_manifest
from harness.backbones import Encoder
from harness.config import RunConfig, digest
from harness.costs import Sparsity
from harness.data.augment import TrainTransform
from harness.data.loading import eval_batches
from harness.errors import HarnessError, MethodError, UsageError
from harness.evaluation import evaluate
from harness.heatmaps import frames_as_json, write_heat_maps
from harness.method import Method, MultiTaskModel, Stage
from harness.metric import Metric
from harness.opened import OpenedData
from harness.pictures import write_contact_sheet
from harness.predictions.writer import PredictionWriter
from harness.probes.environment import environment, software, system_id
from harness.probes.parameters import count_parameters
from harness.progress import RunProgress
from harness.published import load_published
from harness.records import (
    RECORD_NAME,
    Init,
    MethodInfo,
    Phase,
    Record,
    StageInfo,
    read_record,
    write_atomically,
    write_record,
)
from harness.tasks import build_task
from harness.tasks.base import Task
from harness.training.loop import TrainingSetup, seed_everything, train
from harness.weights import WeightFile, sha256_of

ARTIFACT = "artifact"
CHECKPOINT = "checkpoint.pt"
CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Job:
    """What to run and where its files go.

    Attributes:
        method: The method, set up.
        data: The opened data set, with the protocol that holds on it.
        seed: Source of all randomness.
        config: The matrix this is a cell of.
        command: Command line to store with the record.
        device: Where to compute.
        artifact: Artifact to evaluate instead of training; None to make one.
        published: Published checkpoint to make it from; None to train.
        extend: Artifact to add the missing tasks to; None to train all of them.
        predictions: Folder to save the predictions in; None to save none.
    """

    method: Method
    data: OpenedData
    seed: int
    config: RunConfig
    command: list[str]
    device: torch.device
    artifact: Path | None
    published: WeightFile | None = None
    extend: Path | None = None
    predictions: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the figures depend on; equal identities give equal figures."""
        config, data, weights = self.config, self.data, self.method.weights
        return {
            "method": self.method.name,
            "options": self.method.options.model_dump(mode="json"),
            "backbone": self.method.backbone,
            "weights": weights.sha256 if isinstance(weights, WeightFile) else weights,
            "artifact": digest_artifact(self.artifact) if self.artifact else None,
            "published": self.published.sha256 if self.published else None,
            "extend": digest_artifact(self.extend) if self.extend else None,
            "dataset": data.dataset.name,
            "val": data.val.fingerprint,
            "train": data.train.fingerprint if data.train else None,
            "tasks": list(data.problem.names),
            "input_size": list(data.problem.input_size),
            "protocol": data.protocol.model_dump(mode="json"),
            "budget": config.budget,
            "stages": [_recipe(stage) for stage in _stages(self)] if self.trains else None,
            "precision": config.precision,
            "device": self.device.type,
            "seed": self.seed,
        }

    @property
    def trains(self) -> bool:
        """Whether the model is trained here."""
        return self.artifact is None and self.published is None

    @property
    def folder(self) -> Path:
        """Folder of the run: its record, its artifact and, while training, its checkpoint."""
        method = self.method
        name = f"{method.name}.{method.backbone}.{self.config.budget}.seed{self.seed}.{digest(self.identity)[:8]}"
        return self.config.output / self.data.dataset.name / name

    @property
    def run_id(self) -> str:
        """The folder below the results folder."""
        return f"{self.data.dataset.name}/{self.folder.name}"

    @property
    def title(self) -> str:
        """What the run is called in progress bars and messages."""
        return f"{self.method.name} on {self.data.dataset.name}, seed {self.seed}:"


def execute(job: Job, progress: RunProgress) -> Record:
    """Run a job, or go on with it where it stopped, and return its complete record.

    Raises:
        UsageError: another process is at it, or what it left cannot be used.
        DataError: an image or label cannot be read.
        MethodError: the method failed; the record says so.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    progress.title = job.title
    with locked(job.folder):
        for left in job.folder.glob("*.tmp"):  # of a process killed while it wrote
            left.unlink()
        if job.config.overwrite == "always":
            _clear(job.folder)
        record = _started(job)
        if record.status == "complete":
            if job.predictions is not None:
                _evaluate(job, _shipped(job), progress)
            return record
        try:
            _proceed(job, record, progress)
        except HarnessError as error:
            record.failure = str(error)
            write_record(record, job.folder)
            raise
        except Exception as error:
            record.status = "failed"
            record.failure = f"{type(error).__name__}: {error}"
            write_record(record, job.folder)
            raise MethodError(f"{job.title} {record.failure}") from error
    return record


def _proceed(job: Job, record: Record, progress: RunProgress) -> None:
    artifact = job.artifact or job.folder / ARTIFACT
    if not artifact.is_dir():
        if job.published is not None:
            with _phase(record, "convert"):
                model, notes = load_published(job.method, job.data.problem, job.published)
                _warn(record, notes)
                _ship(job, model)
        else:
            with _phase(record, "train", resumed=(job.folder / CHECKPOINT).is_file()):
                _train(job, record, progress)
        write_record(record, job.folder)
    with _phase(record, "load"):
        # What is measured is what is shipped: the model as it comes out of its artifact.
        model = _shipped(job)
    record.parameters = count_parameters(model)
    write_record(record, job.folder)
    with _phase(record, "evaluate"):
        record.metrics = _evaluate(job, model, progress)
    record.sparsity = _look_inside(job, model)
    record.status = "complete"
    write_record(record, job.folder)
    (job.folder / CHECKPOINT).unlink(missing_ok=True)


def _look_inside(job: Job, model: MultiTaskModel) -> dict[str, Sparsity]:
    """Write pictures of predictions and of what the method tells of its layers; return what it tells of its tasks."""
    write_contact_sheet(
        job.folder / "predictions.png",
        model,
        job.data.val,
        job.data.transform,
        _tasks(job),
        job.data.protocol,
        job.device,
    )
    batch = next(eval_batches(job.data.val, job.data.transform, job.config.batch_size))
    with torch.inference_mode():
        images = batch.images.to(job.device)
        statistics, sparsity = job.method.statistics(model, images), job.method.sparsity(model, images)
    if statistics:
        write_heat_maps(job.folder / "layers.png", statistics)
        write_atomically(job.folder / "layers.json", frames_as_json(statistics))
    return dict(sparsity)


def _shipped(job: Job) -> MultiTaskModel:
    return job.method.load(job.artifact or job.folder / ARTIFACT, job.data.problem.names).to(job.device)


def _train(job: Job, record: Record, progress: RunProgress) -> None:
    data, config = job.data, job.config
    assert data.train is not None
    seed_everything(job.seed)
    build = job.method.build(data.problem) if job.extend is None else job.method.extend(job.extend, data.problem)
    model = build.to(job.device)
    _warn(record, _notes(model))
    write_record(record, job.folder)

    def transform(stage: Stage) -> TrainTransform:
        return TrainTransform(data.problem.input_size, stage.augmentation, stage.tasks)

    setup = TrainingSetup(
        scenes=data.train,
        tasks=_tasks(job),
        transform=transform,
        device=job.device,
        precision=config.precision,
        seed=job.seed,
        workers=config.workers,
        checkpoint=job.folder / CHECKPOINT,
        save_every=config.save_every,
        progress=progress,
    )
    logs = train(model, _stages(job), setup)
    record.training = [StageInfo(**asdict(log)) for log in logs]
    job.method.calibrate(model, partial(_score, job))
    _ship(job, model)


def _ship(job: Job, model: MultiTaskModel) -> None:
    """Save the artifact of a model; it is there as a whole or not at all."""
    unfinished = job.folder / f"{ARTIFACT}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    job.method.save(model.cpu(), unfinished)
    if job.extend is not None:  # what exists stays as it is, byte for byte
        shutil.copytree(job.extend, unfinished, dirs_exist_ok=True)
    unfinished.replace(job.folder / ARTIFACT)


def _warn(record: Record, notes: Iterable[str]) -> None:
    record.warnings = list(dict.fromkeys([*record.warnings, *notes]))  # a resumed run has them already


def _notes(model: MultiTaskModel) -> list[str]:
    """Return what is to be known of the weights that the encoders of a model started from."""
    encoders = [note for module in model.modules() if isinstance(module, Encoder) for note in module.notes]
    return [*model.notes, *encoders]


def _tasks(job: Job) -> dict[str, Task]:
    return {spec.name: build_task(spec) for spec in job.data.problem}


def _score(job: Job, model: MultiTaskModel, tasks: Sequence[str]) -> dict[str, Metric]:
    """Return headline figures on the first training images, prepared as for evaluation."""
    scenes, transform = job.data.calibration(CALIBRATION_IMAGES)
    batches = eval_batches(scenes, transform, job.config.batch_size)
    subjects = {name: task for name, task in _tasks(job).items() if name in tasks}
    quiet = RunProgress(quiet=True)
    protocol, precision = job.data.protocol, job.config.precision
    figures = evaluate(model, batches, len(scenes), subjects, protocol, job.device, precision, quiet)
    return {task: next(iter(metrics.values())) for task, metrics in figures.items()}


def _stages(job: Job) -> list[Stage]:
    stages = job.method.stages(job.data.problem, job.config.budget)
    if job.extend is not None:
        held = {spec.name for spec in read_manifest(job.extend).problem()}
        stages = [stage for stage in stages if not held.issuperset(stage.tasks)]
    if job.config.iterations is None:
        assert job.data.train is not None
        return [stage.sized(len(job.data.train)) for stage in stages]
    return [replace(stage, iterations=job.config.iterations) for stage in stages]


def _recipe(stage: Stage) -> dict[str, Any]:
    """Return a stage as plain values; functions by their names."""
    functions = {"weigh": stage.weigh, "terms": stage.terms, "prepare": stage.prepare}
    values = asdict(replace(stage, weigh=None, terms=None, prepare=None))
    return values | {key: getattr(call, "__qualname__", None) for key, call in functions.items()}


def _evaluate(job: Job, model: MultiTaskModel, progress: RunProgress) -> dict[str, dict[str, Metric]]:
    data, config, tasks = job.data, job.config, _tasks(job)
    batches = eval_batches(data.val, data.transform, config.batch_size, config.workers)
    writer = PredictionWriter(job.predictions, tasks, data.transform) if job.predictions else None
    return evaluate(model, batches, len(data.val), tasks, data.protocol, job.device, config.precision, progress, writer)


def _started(job: Job) -> Record:
    """Return the record of an earlier try, or a new one."""
    if (job.folder / RECORD_NAME).is_file():
        record = read_record(job.folder)
        if job.config.overwrite == "never":
            raise UsageError(f"{job.title} {job.folder} holds a {record.status} run already, and --overwrite is never")
        if record.status == "complete":
            return record
        record.status, record.failure = "partial", None
        return record
    record = _new_record(job)
    write_record(record, job.folder)
    return record


def _new_record(job: Job) -> Record:
    now = datetime.now(UTC)
    system = environment()
    config = job.config
    init, source = _origin(job)
    return Record(
        run_id=job.run_id,
        source="measured",
        status="partial",
        created_at=now,
        updated_at=now,
        harness=software(),
        command=job.command,
        config=config.model_dump(mode="json"),
        config_hash=digest(job.identity),
        method=method_info(job.method, init, source),
        dataset=job.data.info(),
        protocol_name=config.protocol_name,
        protocol=job.data.protocol.model_dump(mode="json"),
        budget=config.budget,
        input_size=job.data.problem.input_size,
        precision=config.precision,
        device=job.device.type,
        seed=job.seed,
        system_id=system_id(system),
        environment=system,
        warnings=job.data.warnings,
    )


def method_info(method: Method, init: Init, source: str | None) -> MethodInfo:
    """Return what a record says of a method.

    Args:
        method: The method, set up.
        init: Where its model comes from.
        source: Name and sha256 of what was loaded.
    """
    return MethodInfo(
        name=method.name,
        summary=method.summary,
        paper=method.paper,
        is_reference=method.is_reference,
        backbone=method.backbone,
        init=init,
        checkpoint=source,
        options=method.options.model_dump(mode="json"),
        plugin=type(method).__module__,
    )


def _origin(job: Job) -> tuple[Init, str | None]:
    """Return where the model comes from, and name and sha256 of what was loaded."""
    weights = job.method.weights
    if job.artifact is not None:
        return "checkpoint", f"{job.artifact.name} sha256:{digest_artifact(job.artifact)}"
    if job.published is not None:
        return "checkpoint", f"{job.published.path.name} sha256:{job.published.sha256}"
    if isinstance(weights, WeightFile):
        return "file", f"{weights.path.name} sha256:{weights.sha256}"
    return weights or "random", None


def _clear(folder: Path) -> None:
    shutil.rmtree(folder / ARTIFACT, ignore_errors=True)
    for name in (RECORD_NAME, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a run's folder.

    Raises:
        UsageError: one is at it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"{folder}: another process is running this; wait for it, or choose another -o") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _phase(record: Record, name: str, resumed: bool = False) -> Iterator[None]:
    start = time.perf_counter()
    yield
    record.phases.append(Phase(name=name, seconds=time.perf_counter() - start, resumed=resumed))


def digest_artifact(folder: Path) -> str:
    """Return the sha256 over the names and contents of an artifact's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): sha256_of(path) for path in files})
