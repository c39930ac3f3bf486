"""A data set opened for a run: its splits, its problem and the transform of its images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.cache import Scenes, open_scenes
from harness.data.card import Card, overlap_fault, split_fault
from harness.data.dataset import Dataset, Reader, Split
from harness.data.geometry import eval_transform, size_fault
from harness.data.plausibility import facts, implausible, total
from harness.data.transforms import EvalTransform, Subset
from harness.errors import DataError, UsageError, unknown
from harness.problem import Problem, TaskSpec
from harness.protocol import Protocol
from harness.records import DatasetInfo
from harness.tasks import build_task

_LOOKED_AT = 12
"""Scenes whose labels are looked at when a split is opened: 50 ms; `harness data verify` looks at all."""


@dataclass(frozen=True)
class OpenedData:
    """One data set, ready to train and evaluate on.

    Attributes:
        dataset: The plug-in, with the label spaces of the protocol.
        protocol: The conventions that apply to this data set.
        problem: Tasks and input size.
        transform: How an image becomes an input of that size for evaluation.
        build: The build found on disk.
        val: Scenes to score.
        train: Scenes to train on; None when nothing is trained.
        expected: Images of the whole published validation split; of the list where none was published.
        warnings: What a reader of the results should know.
        absent: Task to the reason why the folder cannot serve it, of the tasks that were asked for.
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
    absent: dict[str, str] = field(default_factory=dict)

    def calibration(self, limit: int) -> tuple[Scenes, EvalTransform]:
        """Return the first training scenes with the labels that predictions are scored with, prepared as for scoring.

        Args:
            limit: Number of scenes, at most.
        """
        assert self.train is not None
        labels = [build_task(spec).scored_label(self.protocol) for spec in self.problem]
        scenes = open_scenes(self.dataset, self.train.reader, labels, min(limit, len(self.train)))
        _check_sizes(scenes, self.protocol, self.problem.input_size)
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
    skip_absent: bool = False,
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
        skip_absent: Leave out the tasks that the folder has no labels of, instead of raising.

    Raises:
        UsageError: a task the data set does not have.
        DataError: the data is missing or unusable, or an image does not fit the input.
    """
    dataset = dataset.under(protocol)
    specs = named_tasks(dataset, tasks)
    root = dataset.root(data_root)
    resolved = dataset.resolve(protocol, root)
    protocol = resolved.protocol
    splits: tuple[Split, ...] = ("val", "train") if training else ("val",)
    readers = {split: dataset.reader(root, split) for split in splits}
    absent = absent_tasks(readers.values(), [spec.name for spec in specs])
    served = tuple(spec for spec in specs if spec.name not in absent)
    if absent and not (skip_absent and served):
        known = [spec.name for spec in dataset.tasks]
        others = [task for task in known if task not in absent_tasks([readers["val"]], known)]
        remedy = f", or ask for what is there: {' '.join(f'-t {task}' for task in others)}" if others else ""
        reasons = "; ".join(f"{task} has no labels, {reason}" for task, reason in absent.items())
        raise DataError(f"{readers['val'].root}: {reasons}; unpack the archive again{remedy}")
    specs = served
    # What each split needs: training its own labels, scoring those of the protocol.
    scored = {spec.name: build_task(spec).scored_label(protocol) for spec in specs}
    labels = {"train": list(scored), "val": list(scored.values())}
    scenes = {split: open_scenes(dataset, readers[split], labels[split], limit) for split in splits}
    size = input_size or dataset.input_size(readers["val"])
    if input_size is None and protocol.geometry == "crop":
        # The centre crop is 416 x 416 on NYUD-v2 (Shoouri et al., ICCV 2023, released code); of smaller images it is
        # the largest square of whole 16 x 16 patches.
        side = min(416, (min(size) - 1) // 16 * 16)
        size = side, side
    _check_sizes(scenes["val"], protocol, size)
    transform = eval_transform(protocol.geometry, size)
    subsets = {scored[task]: ids for task, ids in resolved.subsets.items() if task in scored}
    card = dataset.card
    # What a reader of the results should know: of the protocol, of the lists, of the labels.
    warnings = list(resolved.warnings)
    for task in scored:
        warnings += resolved.task_warnings.get(task, ())
    if limit:
        first = f"first {limit} images of each split were" if limit > 1 else "first image of each split was"
        warnings.append(f"only the {first} used")
    for split in splits:
        if fault := split_fault(card, split, readers[split].ids):
            warnings.append(f"{split}: {fault}")
    if training and (fault := overlap_fault(readers["train"].ids, readers["val"].ids)):
        warnings.append(f"train: {fault}")
    for split in splits:
        warnings += _label_warnings(scenes[split], specs, labels[split], card)
    return OpenedData(
        dataset=dataset,
        protocol=protocol,
        problem=Problem(specs, size),
        transform=Subset(transform, subsets) if subsets else transform,
        build=readers["val"].build,
        val=scenes["val"],
        train=scenes.get("train"),
        expected=card.splits["val"].count if card.splits else len(readers["val"].ids),
        warnings=list(dict.fromkeys(warnings)),
        absent=absent,
    )


def absent_tasks(readers: Iterable[Reader], tasks: Sequence[str]) -> dict[str, str]:
    """Return the tasks that the folder of some readers cannot serve, and why; none where readers do not say."""
    found: dict[str, str] = {}
    for reader in readers:
        absent = getattr(reader, "absent", None)
        found |= absent(tasks) if absent else {}
    return found


def _check_sizes(scenes: Scenes, protocol: Protocol, size: tuple[int, int]) -> None:
    """Raise a `DataError` that names the first image that padding cannot bring to the input size: before training."""
    if protocol.geometry != "pad":
        return
    for image_id, found in zip(scenes.ids, scenes.sizes, strict=True):
        if fault := size_fault(found, size):
            raise DataError(f"{scenes.reader.files(image_id)['image']}: {fault}")


def _label_warnings(scenes: Scenes, specs: Sequence[TaskSpec], labels: Sequence[str], card: Card) -> list[str]:
    """Return what is implausible about the labels of a few scenes spread over the split."""
    step = -(-len(scenes) // _LOOKED_AT)
    samples = [scenes[index] for index in range(0, len(scenes), step)]
    found = []
    for spec, label in zip(specs, labels, strict=True):
        summary = total(facts(spec.name, sample.labels[label]) for sample in samples)
        if reason := implausible(spec, summary, deepest=card.deepest):
            found.append(f"{spec.name}: {reason}")
    return found


def named_tasks(dataset: Dataset, names: Sequence[str]) -> tuple[TaskSpec, ...]:
    """Return the tasks called ``names`` as a data set defines them, in its order; all of them for no names.

    Raises:
        UsageError: the data set has no such task.
    """
    known = [spec.name for spec in dataset.tasks]
    for name in names:
        if name not in known:
            raise UsageError(f"{dataset.name}: {unknown('task', name, known)}")
    return tuple(spec for spec in dataset.tasks if not names or spec.name in names)
