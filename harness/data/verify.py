"""Checking a whole data set and reporting everything that is wrong with it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from harness.data.card import Card, id_list_md5
from harness.data.dataset import Dataset, Reader, Split
from harness.data.parallel import mapped
from harness.errors import DataError
from harness.progress import progress_bar


def verify(dataset: Dataset, root: Path) -> Iterator[str]:
    """Yield every problem of a data set folder: wrong lists, and every unreadable, misshapen or wrong file.

    Args:
        dataset: The data set.
        root: Its folder.
    """
    for split in get_args(Split):
        try:
            reader = dataset.reader(root, split)
        except DataError as error:
            yield f"{split}: {error}"
            continue
        yield from _list_problems(dataset.card, reader)
        check = partial(_scene_problems, reader, tuple(task.name for task in dataset.tasks))
        with mapped(check, reader.ids) as found, progress_bar(f"{split}: reading", len(reader.ids)) as report:
            for done, problems in enumerate(found, start=1):
                yield from (f"{split}: {problem}" for problem in problems)
                report(done)


def _list_problems(card: Card, reader: Reader) -> Iterator[str]:
    if card.splits is None:
        return
    expected = card.splits[reader.split]
    place = reader.root / expected.ids
    if len(reader.ids) != expected.count:
        yield f"{reader.split}: {place}: lists {len(reader.ids)} images, the published split has {expected.count}"
    if expected.md5 is not None and id_list_md5(reader.ids) != expected.md5:
        yield (
            f"{reader.split}: {place}: the ids or their order are not the published ones "
            f"(md5 {id_list_md5(reader.ids)}, published {expected.md5})"
        )


def _scene_problems(reader: Reader, tasks: tuple[str, ...], image_id: str) -> list[str]:
    """Return what is wrong with the image and with each label, each file named once."""
    problems: dict[str, None] = {}
    try:
        reader.image(image_id)
    except DataError as error:
        problems[str(error)] = None
    for task in tasks:
        try:
            reader.label(image_id, task)
        except DataError as error:
            problems[str(error)] = None
    return list(problems)
