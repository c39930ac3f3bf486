"""Tasks and images of a folder of predictions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.predictions.formats import format_of


@dataclass(frozen=True)
class TaskFolder:
    """The predictions of one task.

    Attributes:
        task: Task name.
        path: The folder.
    """

    task: str
    path: Path

    def files(self) -> dict[str, Path]:
        """Return the file of every image by id; of several formats the most exact one. Suffixes may be in capitals."""
        names = [path for path in sorted(self.path.iterdir()) if not path.name.startswith(".") and path.is_file()]
        return {
            path.name[: -len(suffix)]: path
            for suffix in reversed(format_of(self.task).read)
            for path in names
            if path.name.lower().endswith(suffix)
        }

    def unusable(self, ids: Collection[str]) -> str:
        """Return in words why the folder has no file for any image."""
        suffixes = " or ".join(format_of(self.task).read)
        others = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        found = f"found {len(others)} others, such as {others[0]}" if others else "it is empty"
        example = next(iter(ids), "ID")
        return f"{self.path}/: none of the {len(ids)} images has a file such as {example} with {suffixes}; {found}"

    def surplus(self, ids: Collection[str]) -> list[Path]:
        """Return the files that belong to none of the images ``ids``, or to one that has a more exact file."""
        used = {path for image_id, path in self.files().items() if image_id in ids}
        return sorted(path for path in self.path.iterdir() if path not in used and not path.name.startswith("."))


def find_tasks(root: Path, tasks: Sequence[str]) -> tuple[list[TaskFolder], list[Path]]:
    """Find the folders of tasks under the names that code bases give them.

    Args:
        root: Folder of predictions.
        tasks: Tasks of the data set.

    Returns:
        The folders found, in the order of ``tasks``, and the entries of ``root`` that are none of these.

    Raises:
        UsageError: there is no such folder, none of its sub-folders is a task's, or one task has two.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder of predictions")
    found = []
    for task in tasks:
        places = [root / name for name in format_of(task).folders if (root / name).is_dir()]
        if len(places) > 1:
            raise UsageError(f"{root}: {places[0].name}/ and {places[1].name}/ both hold {task}; keep one of them")
        found += [TaskFolder(task, place) for place in places]
    if not found:
        known = ", ".join(f"{'|'.join(format_of(task).folders)}/" for task in tasks)
        raise UsageError(f"{root}: holds no predictions; expected a folder per task, named {known}")
    taken = {folder.path for folder in found}
    return found, sorted(path for path in root.iterdir() if path not in taken and not path.name.startswith("."))
