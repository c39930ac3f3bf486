"""Problem of a model: the tasks, their label spaces and the input size. Names no data set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BOUNDARY_TRUTH = "boundary-truth"
"""Name of the label that boundary predictions are scored with; they are trained on ``boundary``."""

_CHANNELS = {"saliency": 2, "normals": 3, "depth": 1, "boundary": 1}


@dataclass(frozen=True)
class TaskSpec:
    """One task as a data set defines it.

    Attributes:
        name: Task name, a key of ``harness.tasks`` (``semseg``, ``parts``, ``saliency``, ``normals``,
            ``depth``, ``boundary``, or a plug-in's, which has one channel unless it has classes).
        num_classes: Size of the label space for label tasks; None for the others.
        class_names: Names of the classes in label order; empty where there are none.
        tolerance: For boundary: largest distance of a match, as a fraction of the image's diagonal.
    """

    name: str
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    tolerance: float | None = None

    @property
    def channels(self) -> int:
        """Channels of the raw map a model returns for this task."""
        return _CHANNELS.get(self.name, 1) if self.num_classes is None else self.num_classes


@dataclass(frozen=True)
class Problem:
    """The tasks of one run and the size of the images a model receives.

    Attributes:
        tasks: Tasks in the order of the papers' tables.
        input_size: (height, width) in pixels of the model's input and of its outputs.
    """

    tasks: tuple[TaskSpec, ...]
    input_size: tuple[int, int]

    def __iter__(self) -> Iterator[TaskSpec]:
        """Iterate over the tasks."""
        return iter(self.tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(task.name for task in self.tasks)

    def only(self, names: Sequence[str]) -> "Problem":
        """Return the problem with the tasks called ``names`` alone, in the same order.

        Example:
            >>> Problem((TaskSpec("depth"), TaskSpec("normals")), (480, 640)).only(["depth"]).names
            ('depth',)
        """
        return Problem(tuple(task for task in self.tasks if task.name in names), self.input_size)

    def task(self, name: str) -> TaskSpec:
        """Return the task called ``name``.

        Raises:
            KeyError: the problem has no such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)
