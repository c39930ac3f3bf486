"""Facts of tasks that tables and lists need: titles, direction and loss weight, known without their meters."""

from typing import NamedTuple


class TaskFacts(NamedTuple):
    """Printed facts of a task.

    Attributes:
        title: Column title of the papers' tables.
        headline_title: Name of the headline metric in the papers' tables, for example ``mIoU``.
        higher_is_better: Direction of the headline metric.
        weight: Weight of the loss in a multi-task sum (the field's fixed weights).
    """

    title: str
    headline_title: str
    higher_is_better: bool
    weight: float


TASK_FACTS: dict[str, TaskFacts] = {
    "semseg": TaskFacts("SemSeg", "mIoU", True, 1.0),
    "parts": TaskFacts("Parsing", "mIoU", True, 2.0),
    "saliency": TaskFacts("Saliency", "maxF", True, 5.0),
    "normals": TaskFacts("Normals", "mErr", False, 10.0),
    "depth": TaskFacts("Depth", "RMSE", False, 1.0),
    "boundary": TaskFacts("Boundary", "odsF", True, 50.0),
}
"""Facts of every task by name: the built-in ones in the order of the papers' tables, then those of plug-ins."""
