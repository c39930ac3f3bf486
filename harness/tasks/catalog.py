"""Tasks by name, with their classes."""

from harness.errors import UsageError, unknown
from harness.problem import TaskSpec
from harness.tasks.base import Task
from harness.tasks.boundary import Boundary
from harness.tasks.depth import Depth
from harness.tasks.facts import TASK_FACTS, TaskFacts
from harness.tasks.labelling import Parts, Semseg
from harness.tasks.normals import Normals
from harness.tasks.saliency import Saliency

TASKS: dict[str, type[Task]] = {task.name: task for task in (Semseg, Parts, Saliency, Normals, Depth, Boundary)}
"""Tasks by name: the built-in ones in the order of the papers' tables, then those of plug-ins."""

_BUILT_IN = frozenset(TASKS)


def register(cls: type[Task]) -> None:
    """Add the task of a plug-in.

    Raises:
        UsageError: a built-in task has its name.
    """
    if cls.name in _BUILT_IN:
        raise UsageError(f"the name {cls.name!r} is already taken in tasks; choose another")
    lacking = [name for name in TaskFacts._fields if not hasattr(cls, name)]
    if lacking:
        raise UsageError(f"task {cls.name} lacks {', '.join(lacking)}; docs/add-task.md has them all")
    TASKS[cls.name] = cls
    TASK_FACTS[cls.name] = TaskFacts(cls.title, cls.headline_title, cls.higher_is_better, cls.weight)


def build_task(spec: TaskSpec) -> Task:
    """Return the task that ``spec`` names.

    Raises:
        UsageError: there is no such task.
    """
    if spec.name not in TASKS:
        raise UsageError(unknown("task", spec.name, TASKS))
    return TASKS[spec.name](spec)
