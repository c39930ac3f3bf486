"""Losses of the tasks over a batch, which several processes may share."""

import inspect
from collections.abc import Mapping, Sequence

from torch import Tensor

from harness.data.sample import Batch
from harness.errors import MethodError, UsageError
from harness.recipe import Stage
from harness.tasks.base import Task, Total
from harness.training import parallel
from harness.training.aids import WholeBatch


def task_losses(
    predictions: Mapping[str, Tensor], batch: Batch, tasks: Mapping[str, Task], whole: WholeBatch | None = None
) -> dict[str, Tensor]:
    """Return the unweighted loss of every predicted task, in float32; of the whole batch where processes share it.

    Args:
        predictions: Task to raw map.
        batch: Its labels.
        tasks: Task objects by name.
        whole: Sums over the batch of which this is a part; None where it is no part.
    """
    labels = batch.labels
    if whole is not None:
        return {
            name: tasks[name].loss(raw.float(), labels[name], whole.total(name)) for name, raw in predictions.items()
        }
    if parallel.world() == 1:  # a task of somebody else may know no sums over processes
        return {name: tasks[name].loss(prediction.float(), labels[name]) for name, prediction in predictions.items()}
    total: Total = parallel.summed
    return {name: tasks[name].loss(prediction.float(), labels[name], total) for name, prediction in predictions.items()}


def check_parts(stages: Sequence[Stage], tasks: Mapping[str, Task]) -> None:
    """Check that every batch can be shared by the processes, and its losses be summed over them."""
    world = parallel.world()
    if world == 1:
        return
    for stage in stages:
        if stage.batch_size < world:
            raise UsageError(
                f"stage {stage.name}: {world} processes cannot share batches of {stage.batch_size} images; start at "
                f"most {stage.batch_size}"
            )
    for name, task in tasks.items():
        if "total" not in inspect.signature(task.loss).parameters:
            raise MethodError(
                f"task {name}: its loss takes no `total`, so that several processes would train on the means of their "
                f"parts; add it (docs/add-task.md), or use one process"
            )
