"""Tasks as the code bases of the baselines name and order them."""

from collections.abc import Iterable, Sequence

from harness.problem import TaskSpec

ORDER = ("semseg", "parts", "saliency", "normals", "boundary", "depth")
"""Order of the tasks in Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021): MTI-Net, PAD-Net and others."""

_NAMES = {"parts": "human_parts", "saliency": "sal", "boundary": "edge"}


def key_of(task: str) -> str:
    """Return a task's name in checkpoints of the field: ``human_parts``, ``sal``, ``edge``; others keep theirs."""
    return _NAMES.get(task, task)


def in_order(tasks: Iterable[TaskSpec], order: Sequence[str] = ORDER) -> tuple[TaskSpec, ...]:
    """Return tasks in the order of a code base, whatever the order in which they come.

    Tasks that the code base does not know follow in alphabetical order.

    Args:
        tasks: The tasks, for example a `harness.problem.Problem`.
        order: Every task that the code base knows, by our names.
    """
    known = {name: place for place, name in enumerate(order)}
    return tuple(sorted(tasks, key=lambda task: (known.get(task.name, len(known)), task.name)))


def channels_of(task: TaskSpec) -> int:
    """Return the channels of a prediction where saliency is one map for a sigmoid, not two for a softmax."""
    return 1 if task.name == "saliency" else task.channels
