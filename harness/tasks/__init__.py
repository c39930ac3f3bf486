"""Dense prediction tasks: channels, loss, meter and picture of each."""

from harness.errors import UsageError, unknown
from harness.problem import TaskSpec
from harness.tasks.base import Task
from harness.tasks.boundary import Boundary
from harness.tasks.depth import Depth
from harness.tasks.normals import Normals
from harness.tasks.parts import Parts
from harness.tasks.saliency import Saliency
from harness.tasks.semseg import Semseg

TASKS: dict[str, type[Task]] = {task.name: task for task in (Semseg, Parts, Saliency, Normals, Depth, Boundary)}
"""Built-in tasks by name, in the order of the papers' tables."""


def build_task(spec: TaskSpec) -> Task:
    """Return the task that ``spec`` names.

    Raises:
        UsageError: there is no such task.
    """
    if spec.name not in TASKS:
        raise UsageError(unknown("task", spec.name, TASKS))
    return TASKS[spec.name](spec)


__all__ = ["TASKS", "build_task"]
