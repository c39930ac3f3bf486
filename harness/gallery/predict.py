"""From an artifact and images to pictures of every task and a page that shows them."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.compute import Compute, pick_device
from harness.config import PredictConfig
from harness.data.cache import open_scenes
from harness.data.geometry import Fit
from harness.data.photographs import find_photographs, read_photograph
from harness.data.transforms import mark_ignored
from harness.errors import DataError, HarnessError, MethodError, UsageError, unknown
from harness.files import check_writable, write_atomically, writing_to
from harness.gallery.page import Entry, page
from harness.gallery.panels import columns
from harness.gallery.sheet import Sheet
from harness.method import Method, MultiTaskModel, load_artifact
from harness.problem import Problem
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.registry import load_dataset, load_plugin
from harness.run.configure import method_of
from harness.tasks import build_task
from harness.tasks.base import Task
from harness.weights.artifact import Manifest, digest_artifact, read_manifest

BATCH_SIZE = 8
PAGE = "index.html"


@dataclass(frozen=True)
class Subject:
    """One image to predict.

    Attributes:
        name: As people know it: its file or its id.
        image: RGB, uint8 [H, W, 3].
        labels: Task name to the label that the task is scored with, [1 or 3, H, W], 255 where ignored; None for
            photographs without labels.
    """

    name: str
    image: NDArray[np.uint8]
    labels: Mapping[str, Tensor] | None = None


@dataclass
class Drawn:
    """Result of a prediction: pictures made, and images that could not be read.

    Attributes:
        page: The page that shows all pictures; None if no image could be read.
        unreadable: What is wrong with each of the images that could not be read.
    """

    page: Path | None = None
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    """Source of the images.

    Attributes:
        stems: Name of each image's picture, without suffix.
        subjects: The images in the same order; a `DataError` in place of one that cannot be read.
        kind: What they are, after their number.
    """

    stems: Sequence[str]
    subjects: Iterator[Subject | DataError]
    kind: str


def predict(config: PredictConfig) -> Drawn:
    """Predict and draw every image; those that cannot be read are left out and named.

    An image that fits the model's input is padded as for scoring; a larger one is reduced until it fits. Predictions
    are brought back to the size of the image before they are drawn.

    Raises:
        UsageError: a wrong name or option, or no artifact; nothing was drawn.
        DataError: a path or the data set is missing; nothing was drawn.
        MethodError: the model failed.
    """
    for plugin in config.plugin:
        load_plugin(plugin)
    compute = Compute(pick_device(config.device), config.precision)
    compute.set_switches()
    manifest = read_manifest(config.checkpoint)
    method = _method(config, manifest)
    problem = _problem(config, manifest)
    source = _scenes(config, problem) if config.dataset else _photographs(config)
    check_writable("-o", config.output)  # before the images are predicted
    with _blaming(config.checkpoint):
        model = compute.place(load_artifact(method, config.checkpoint, problem.names)).eval()
    drawn = Drawn()
    entries: list[Entry] = []
    with RunProgress(config.quiet).bar("predict", len(source.stems)) as report:
        for batch in _batches(source, drawn.unreadable):
            raw = _forward(model, batch, problem, config.checkpoint, compute)
            for index, (stem, subject) in enumerate(batch):
                maps = {name: planes[index] for name, planes in raw.items()}
                entries.append(_draw(stem, subject, maps, problem, config.output))
                report(len(entries) + len(drawn.unreadable))
    if entries:
        drawn.page = config.output / PAGE
        title = f"Predictions of {method.name} ({method.backbone})"
        facts = [
            f"{len(entries)} {'image' if len(entries) == 1 else 'images'} {source.kind}",
            f"artifact sha256 {digest_artifact(config.checkpoint)[:12]}, {config.precision}",
        ]
        _write(drawn.page, page(title, facts, entries))
    return drawn


def _method(config: PredictConfig, manifest: Manifest) -> Method:
    if config.method not in (None, manifest.method):
        raise UsageError(
            f"--checkpoint {config.checkpoint}: is an artifact of {manifest.method}, not of {config.method}"
        )
    return method_of(manifest, config.checkpoint)


def _problem(config: PredictConfig, manifest: Manifest) -> Problem:
    held = manifest.problem()
    for name in config.task:
        if name not in held.names:
            raise UsageError(f"--checkpoint {config.checkpoint}: {unknown('task', name, held.names)}")
    return held.only(config.task) if config.task else held


def _photographs(config: PredictConfig) -> _Source:
    paths = find_photographs(config.image)[: config.limit]
    stems = _stems(paths)
    taken = {path.resolve() for path in paths}
    for stem in stems:
        if _picture(config.output, stem).resolve() in taken:
            raise UsageError(f"{_picture(config.output, stem)} is one of the images; choose another folder with -o")

    def subjects() -> Iterator[Subject | DataError]:
        for path in paths:
            try:
                yield Subject(path.name, read_photograph(path))
            except DataError as error:
                yield error

    return _Source(stems, subjects(), "without labels")


def _stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for the picture of each image: its own, numbered where another has it already."""
    stems: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem, number = path.stem, 2
        while stem.casefold() in taken:
            stem, number = f"{path.stem}-{number}", number + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _scenes(config: PredictConfig, problem: Problem) -> _Source:
    assert config.dataset is not None
    dataset = load_dataset(config.dataset)
    posed = {spec.name: spec for spec in dataset.tasks}
    # A label says something of a prediction only if both count the same classes.
    shared = [spec for spec in problem if spec.name in posed and spec.class_names == posed[spec.name].class_names]
    root = dataset.root(config.data_root)
    protocol = dataset.resolve(Protocol(), root).protocol
    labels = {spec.name: build_task(spec).scored_label(protocol) for spec in shared}
    scenes = open_scenes(dataset, dataset.reader(root, config.split), list(labels.values()), config.limit)

    def subjects() -> Iterator[Subject | DataError]:
        for sample in scenes:
            marked = {
                task: torch.from_numpy(mark_ignored(label, sample.labels[label])) for task, label in labels.items()
            }
            yield Subject(sample.id, sample.image, marked)

    kind = "synthetic, rendered scenes" if dataset.synthetic else "real images"
    return _Source(scenes.ids, subjects(), f"of the {config.split} split of {dataset.name} ({kind})")


def _batches(source: _Source, unreadable: list[str]) -> Iterator[list[tuple[str, Subject]]]:
    """Yield the images that can be read with the names of their pictures; add those that cannot to ``unreadable``."""
    batch: list[tuple[str, Subject]] = []
    for stem, subject in zip(source.stems, source.subjects, strict=True):
        if isinstance(subject, DataError):
            unreadable.append(str(subject))
            continue
        batch.append((stem, subject))
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _forward(
    model: MultiTaskModel,
    batch: Sequence[tuple[str, Subject]],
    problem: Problem,
    checkpoint: Path,
    compute: Compute,
) -> dict[str, Tensor]:
    """Return task name to raw maps at input size, [B, C, H, W]."""
    fit = Fit(problem.input_size)
    images = torch.from_numpy(np.stack([fit(subject.image) for _, subject in batch])).to(compute.device)
    with _blaming(checkpoint), torch.inference_mode(), compute.autocast():
        return {name: planes.float().cpu() for name, planes in model(images, problem.names).items()}


@contextlib.contextmanager
def _blaming(checkpoint: Path) -> Iterator[None]:
    """Turn whatever a method raises into its failure."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise MethodError(f"--checkpoint {checkpoint}: {type(error).__name__}: {error}") from error


def _draw(stem: str, subject: Subject, raw: Mapping[str, Tensor], problem: Problem, output: Path) -> Entry:
    """Write the sheet of one image; return its place on the page."""
    tasks: dict[str, Task] = {spec.name: build_task(spec) for spec in problem}
    size = subject.image.shape[0], subject.image.shape[1]
    fit = Fit(problem.input_size)
    shown = columns(tasks, {name: fit.restore(planes, size) for name, planes in raw.items()}, subject.labels)
    sheet = Sheet(subject.image, shown).draw()
    path = _picture(output, stem)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    _write(path, buffer.getvalue())
    return Entry(path.name, subject.name, sheet.size, shown)


def _write(path: Path, content: str | bytes) -> None:
    with writing_to(f"-o: {path}"):
        write_atomically(path, content)


def _picture(output: Path, stem: str) -> Path:
    return output / f"{stem}.png"
