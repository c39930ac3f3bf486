"""Scoring of a folder of predictions, whatever code base saved it."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from harness.config import ScoreConfig
from harness.data.loading import eval_batches
from harness.data.open import OpenedData, open_data
from harness.data.sample import Batch
from harness.data.transforms import EvalTransform
from harness.errors import DataError
from harness.files import digest
from harness.predictions.checks import check_of
from harness.predictions.folder import TaskFolder, find_tasks
from harness.predictions.formats import format_of, read_prediction
from harness.probes.environment import provenance
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records import Gain, MethodInfo, Phase, Record, build_record, write_record
from harness.records.metric import Metric
from harness.registry import load_dataset, load_plugin
from harness.tasks import build_task
from harness.tasks.base import IGNORE, Task
from harness.tasks.per_image import PerImage
from harness.weights.artifact import digest_artifact


@dataclass
class Scored:
    """Result of scoring a folder of predictions.

    Attributes:
        record: The record, as it was written.
        missing: Predictions that are not there, as ``<folder>/<image id>``.
        broken: What is wrong with each file that cannot be used, path first.
        surplus: Files and folders that belong to no image or task.
        doubtful: What is implausible about the values of a task, and what to do; they were scored as they are.
    """

    record: Record
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)


def score(config: ScoreConfig) -> Scored:
    """Score every task found in a folder of predictions, one image at a time, and write the record.

    Images whose label is ignored as a whole need no prediction: some code bases save none for them.

    Args:
        config: The folder, the data set and the rules.

    Raises:
        UsageError: a wrong name, option or folder.
        DataError: the data set is missing or unusable, or not a single prediction can be scored.
    """
    for plugin in config.plugin:
        load_plugin(plugin)
    protocol = Protocol.profile(config.protocol, config.protocol_set)
    dataset = load_dataset(config.dataset)
    folders, others = find_tasks(config.predictions, [spec.name for spec in dataset.tasks])
    tasks = [folder.task for folder in folders]
    data = open_data(dataset, config.data_root, tasks, protocol, config.limit, False, config.input_size, True)
    folders = [folder for folder in folders if folder.task not in data.absent]
    data.warnings.extend(f"{task}: not scored, {reason}" for task, reason in data.absent.items())
    scorers = [_TaskScorer(folder, build_task(data.problem.task(folder.task)), data) for folder in folders]
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        for scorer in scorers:
            stack.callback(scorer.meter.close)
        incomplete = _stream(scorers, data, RunProgress(config.quiet, f"{config.method_name} on {config.dataset}:"))
        metrics = {scorer.folder.task: scorer.meter.compute() for scorer in scorers if scorer.count}
        kept = PerImage(data.protocol, list(data.val.ids))
        for scorer in scorers:
            if scorer.count:
                kept.take(scorer.task.spec, scorer.meter, scorer.scored, scorer.lost)
    missing = [name for scorer in scorers for name in scorer.missing]
    broken = [name for scorer in scorers for name in scorer.broken]
    if not metrics:
        raise DataError(f"{config.predictions}: nothing can be scored; first problem: {_first_problem(scorers, data)}")
    record = _record(config, data, folders, metrics)
    record.dataset.n_evaluated = len(data.val) - incomplete
    doubtful = [fault for scorer in scorers for fault in scorer.faults()]
    record.warnings += [*(warning for scorer in scorers for warning in scorer.warnings(len(data.val))), *doubtful]
    record.per_image = kept.write(config.output / record.run_id)
    record.phases.append(Phase(name="evaluate", seconds=time.perf_counter() - start))
    write_record(record, config.output / record.run_id)
    known = set(data.val.reader.ids)
    surplus = [str(path) for path in [*others, *(path for folder in folders for path in folder.surplus(known))]]
    return Scored(record, missing, broken, surplus, doubtful)


def _first_problem(scorers: Sequence["_TaskScorer"], data: OpenedData) -> str:
    """Return why nothing could be scored, with its reason."""
    for scorer in scorers:
        if scorer.broken:
            return scorer.broken[0]
    for scorer in scorers:
        if scorer.missing:
            return scorer.folder.unusable(data.val.ids)
    return "no image has a valid label"


class _TaskScorer:
    """The predictions of one task on their way from files into its meter."""

    def __init__(self, folder: TaskFolder, task: Task, data: OpenedData) -> None:
        self.folder = folder
        self.task = task
        self.label = task.scored_label(data.protocol)
        self.meter = task.meter(data.protocol)
        self.files = folder.files()
        self.missing: list[str] = []
        self.broken: list[str] = []
        self.scored: list[str] = []  # images that the meter was given
        self.lost: set[str] = set()  # images that it should have been given
        self.count = 0  # of images that have anything to score
        self.resized = 0
        self.check = check_of(task.spec)

    def add(self, batch: Batch, transform: EvalTransform) -> bool:
        """Score one image; return whether there is nothing to complain of."""
        task, label = self.folder.task, batch.labels[self.label]
        path = self.files.get(batch.ids[0])
        needed = bool((label != IGNORE).any())
        if path is None:
            if needed:
                self.lost.add(batch.ids[0])
                self.missing.append(f"{self.folder.path / batch.ids[0]}{format_of(task).suffix}")
            return not needed
        try:
            planes = read_prediction(task, path)
        except DataError as error:
            self.lost.add(batch.ids[0])
            self.broken.append(str(error))
            return False
        self.resized += planes.shape[1:] not in (batch.sizes[0], tuple(label.shape[2:]))
        planes = transform.place(planes, batch.sizes[0], format_of(task).smooth)
        self.meter.update_decoded(torch.from_numpy(planes)[None], label)
        self.scored.append(batch.ids[0])
        if self.check is not None:
            self.check.add(planes, label[0].numpy())
        self.count += needed
        return True

    def warnings(self, images: int) -> Iterator[str]:
        """Yield what the record says of files that could not be scored as they are."""
        if self.missing or self.broken:
            yield (
                f"{self.folder.task}: of {images} images, {len(self.missing)} have no prediction and "
                f"{len(self.broken)} a broken one; the metrics are of the others"
            )
        if self.resized:
            yield f"{self.folder.task}: {self.resized} predictions were resized to their images"

    def faults(self) -> Iterator[str]:
        """Yield what is implausible about the values that were scored."""
        if self.check is not None:
            yield from (f"{self.folder.task}: {fault}" for fault in self.check.faults())


def _stream(scorers: Sequence[_TaskScorer], data: OpenedData, progress: RunProgress) -> int:
    """Feed all images to the scorers; return the number of images that miss a prediction."""
    incomplete = 0
    with progress.bar("score", len(data.val)) as report:
        for done, batch in enumerate(eval_batches(data.val, data.transform, 1), start=1):
            complete = [scorer.add(batch, data.transform) for scorer in scorers]
            incomplete += not all(complete)
            report(done)
    return incomplete


def _record(
    config: ScoreConfig,
    data: OpenedData,
    folders: Sequence[TaskFolder],
    metrics: dict[str, dict[str, Metric]],
) -> Record:
    predictions = digest({folder.task: digest_artifact(folder.path) for folder in folders})
    identity = {
        "predictions": predictions,
        "name": config.method_name,
        "dataset": data.dataset.name,
        "val": data.val.fingerprint,
        "input_size": list(data.problem.input_size),
        "protocol": data.protocol.model_dump(mode="json"),
    }
    folder = re.sub(r"[^\w.+-]+", "-", config.method_name)[:80]
    return build_record(
        f"{data.dataset.name}/{folder}.predictions.{digest(identity)[:8]}",
        identity,
        provenance(),
        MethodInfo(
            name=config.method_name,
            summary="predictions that were made elsewhere",
            paper=None,
            is_reference=False,
            backbone=None,
            init="predictions",
            checkpoint=f"{config.predictions.resolve().name} sha256:{predictions}",
            options={},
            plugin=None,
        ),
        data.info(),
        source="measured",
        status="complete",
        config=config.model_dump(mode="json"),
        protocol_name=config.protocol_name,
        protocol=data.protocol.model_dump(mode="json"),
        budget=None,
        input_size=data.problem.input_size,
        precision=None,
        seed=None,
        metrics=metrics,
        delta_m=Gain(
            value=None,
            reference=None,
            reason="predictions were made elsewhere, so that no single-task record is known to be their reference",
        ),
        warnings=data.warnings,
    )
