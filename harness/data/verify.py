"""Checking a whole data set and reporting everything that is wrong with it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from harness.data.card import Card, overlap_fault, split_fault
from harness.data.dataset import Dataset, Reader, Split
from harness.data.geometry import size_fault
from harness.data.open import absent_tasks
from harness.data.parallel import mapped
from harness.data.plausibility import Facts, facts, implausible, total
from harness.errors import DataError
from harness.problem import TaskSpec
from harness.progress import progress_bar

_Findings = tuple[list[str], dict[str, Facts]]
"""What is wrong with the files of one scene, and the summaries of its labels by task."""


def verify(dataset: Dataset, root: Path) -> Iterator[str]:
    """Yield every problem of a data set folder.

    Wrong lists, missing folders, every unreadable, misshapen or wrong file, and labels whose values as a whole are
    implausible: another unit, range or encoding.

    Args:
        dataset: The data set.
        root: Its folder.
    """
    readers: dict[Split, Reader] = {}
    for split in get_args(Split):
        try:
            reader = readers[split] = dataset.reader(root, split)
        except DataError as error:
            yield f"{split}: {error}"
            continue
        yield from (f"{split}: {problem}" for problem in _split_problems(dataset, reader))
    if len(readers) == len(get_args(Split)) and (fault := overlap_fault(readers["train"].ids, readers["val"].ids)):
        yield f"train: {_list_file(dataset.card, readers['train'])}: {fault}"


def _split_problems(dataset: Dataset, reader: Reader) -> Iterator[str]:
    """Yield the problems of one split: of its list, of its folders, of every file, and of all labels together."""
    if fault := split_fault(dataset.card, reader.split, reader.ids):
        yield f"{_list_file(dataset.card, reader)}: {fault}"
    absent = absent_tasks([reader], [spec.name for spec in dataset.tasks])
    yield from (f"{reader.root}: {task} has no labels, {reason}" for task, reason in absent.items())
    specs = [spec for spec in dataset.tasks if spec.name not in absent]
    # Every scene: in processes, for decoding takes all of the time.
    parts: list[dict[str, Facts]] = []
    try:
        padded = dataset.input_size(reader)
    except DataError:  # an image cannot be read, which is reported below
        padded = None
    check = partial(_scene_findings, reader, specs, padded)

    def died(image_id: str) -> _Findings:
        files = ", ".join(str(path) for path in reader.files(image_id).values())
        return [f"{image_id}: the process that read it died; one of its files is damaged: {files}"], {}

    with (
        mapped(check, reader.ids, died) as found,
        progress_bar(f"{reader.split}: reading", len(reader.ids)) as report,
    ):
        for done, (problems, summaries) in enumerate(found, start=1):
            yield from problems
            parts.append(summaries)
            report(done)
    # All labels together.
    for spec in specs:
        summary = total(part[spec.name] for part in parts if spec.name in part)
        published = dataset.card.splits is not None
        if fault := implausible(spec, summary, deepest=dataset.card.deepest, published=published):
            yield f"{reader.root}: {spec.name}: {fault}"


def _list_file(card: Card, reader: Reader) -> Path:
    return reader.root / card.splits[reader.split].ids if card.splits else reader.root


def _scene_findings(reader: Reader, specs: list[TaskSpec], padded: tuple[int, int] | None, image_id: str) -> _Findings:
    """Return what is wrong with the image and with each label, each file named once, and summaries of the labels."""
    problems: dict[str, None] = {}
    summaries = {}
    try:
        height, width, _ = reader.image(image_id).shape
        if padded and (fault := size_fault((height, width), padded)):
            problems[f"{reader.files(image_id)['image']}: {fault}"] = None
    except DataError as error:
        problems[str(error)] = None
    for spec in specs:
        try:
            summaries[spec.name] = facts(spec.name, reader.label(image_id, spec.name))
        except DataError as error:
            problems[str(error)] = None
    return list(problems), summaries
