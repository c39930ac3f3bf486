"""A data set opened for a run: its splits, its problem and how images become inputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.cache import Scenes, open_scenes
from harness.data.dataset import Dataset, Split
from harness.data.geometry import eval_transform
from harness.data.transforms import EvalTransform, Subset
from harness.errors import UsageError, unknown
from harness.problem import Problem, TaskSpec
from harness.protocol import Protocol
from harness.records import DatasetInfo
from harness.tasks import build_task


@dataclass(frozen=True)
class OpenedData:
    """One data set, ready to train and evaluate on.

    Attributes:
        dataset: The plug-in, with the label spaces of the protocol.
        protocol: The conventions that hold on this data set.
        problem: Tasks and input size.
        transform: How an image becomes an input of that size for evaluation.
        build: The build found on disk.
        val: Scenes to score.
        train: Scenes to train on; None when nothing is trained.
        expected: Images of the whole validation split.
        warnings: What a reader of the figures should know.
    """

    dataset: Dataset
    protocol: Protocol
    problem: Problem
    transform: EvalTransform
    build: str
    val: Scenes
    train: Scenes | None
    expected: int
    warnings: list[str] = field(default_factory=list)

    def calibration(self, limit: int) -> tuple[Scenes, EvalTransform]:
        """Return the first training scenes with the labels that predictions are scored with, prepared as for scoring.

        Args:
            limit: Number of scenes, at most.
        """
        assert self.train is not None
        labels = [build_task(spec).scored_label(self.protocol) for spec in self.problem]
        scenes = open_scenes(self.dataset, self.train.reader, labels, min(limit, len(self.train)))
        return scenes, eval_transform(self.protocol.geometry, self.problem.input_size)

    def info(self) -> DatasetInfo:
        """Return what a record says of the data."""
        return DatasetInfo(
            name=self.dataset.name,
            synthetic=self.dataset.synthetic,
            build=self.build,
            split="val",
            fingerprint=self.val.fingerprint,
            n_expected=self.expected,
            n_evaluated=len(self.val),
            train_fingerprint=self.train.fingerprint if self.train else None,
            n_train=len(self.train) if self.train else None,
        )


def open_data(
    dataset: Dataset,
    data_root: Path | None,
    tasks: Sequence[str],
    protocol: Protocol,
    limit: int | None,
    training: bool,
    input_size: tuple[int, int] | None = None,
) -> OpenedData:
    """Open a data set.

    Args:
        dataset: The plug-in.
        data_root: Where it lies; None for the default places.
        tasks: Tasks to serve; empty for all.
        protocol: Evaluation conventions as asked for; they set the label spaces, the geometry and the images.
        limit: Use only the first images of each split.
        training: Whether the training split is needed.
        input_size: (height, width) of the model's input; None for the data set's under this geometry.

    Raises:
        UsageError: a task the data set does not have.
        DataError: the data is missing or unusable.
    """
    dataset = dataset.under(protocol)
    specs = posed_tasks(dataset, tasks)
    root = dataset.root(data_root)
    resolved = dataset.resolve(protocol, root)
    protocol = resolved.protocol
    splits: tuple[Split, ...] = ("val", "train") if training else ("val",)
    readers = {split: dataset.reader(root, split) for split in splits}
    scored = {spec.name: build_task(spec).scored_label(protocol) for spec in specs}
    labels = {"train": list(scored), "val": list(scored.values())}
    scenes = {split: open_scenes(dataset, readers[split], labels[split], limit) for split in splits}
    size = input_size or _default_size(dataset.input_size(readers["val"]), protocol)
    transform = eval_transform(protocol.geometry, size)
    subsets = {scored[task]: ids for task, ids in resolved.subsets.items() if task in scored}
    limited = [f"only the first {limit} images of each split were used"] if limit else []
    return OpenedData(
        dataset=dataset,
        protocol=protocol,
        problem=Problem(specs, size),
        transform=Subset(transform, subsets) if subsets else transform,
        build=readers["val"].build,
        val=scenes["val"],
        train=scenes.get("train"),
        expected=len(readers["val"].ids),
        warnings=[*resolved.warnings, *limited],
    )


def posed_tasks(dataset: Dataset, names: Sequence[str]) -> tuple[TaskSpec, ...]:
    """Return the tasks called ``names`` as a data set poses them, in its order; all of them for no names.

    Raises:
        UsageError: the data set has no such task.
    """
    known = [spec.name for spec in dataset.tasks]
    for name in names:
        if name not in known:
            raise UsageError(f"{dataset.name}: {unknown('task', name, known)}")
    return tuple(spec for spec in dataset.tasks if not names or spec.name in names)


def _default_size(padded: tuple[int, int], protocol: Protocol) -> tuple[int, int]:
    """Return the input size of a geometry; ``padded`` is the data set's when images are padded.

    The centre crop is 416 x 416 on NYUD-v2 (Shoouri et al., ICCV 2023, released code); of smaller images it is
    the largest square of whole 16 x 16 patches.
    """
    if protocol.geometry != "crop":
        return padded
    side = min(416, (min(padded) - 1) // 16 * 16)
    return side, side
