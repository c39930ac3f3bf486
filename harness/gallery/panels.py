"""One column of a sheet: a task's prediction and, where there is a label, the label and the error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from harness.tasks.base import Task
from harness.tasks.pictures import Picture, Scale, Swatch


@dataclass(frozen=True)
class Panel:
    """One picture with what is written around it.

    Attributes:
        title: Written above it.
        picture: RGB [H, W, 3]; None leaves the place empty but for the title.
        key: Written below it, or the scale of the colour bar there.
    """

    title: str
    picture: Picture | None
    key: Scale | str | None = None


@dataclass(frozen=True)
class Column:
    """The panels of one task, from top to bottom, and the classes shown in them.

    Attributes:
        title: Name of the task.
        panels: One, or three where there are labels: prediction, label, error.
        legend: Names and colours of the classes in the panels.
        score: Mean error of the image in words; None where it has no label.
    """

    title: str
    panels: Sequence[Panel]
    legend: Sequence[Swatch] = ()
    score: str | None = None


def columns(tasks: Mapping[str, Task], raw: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None) -> list[Column]:
    """Return the columns of one image.

    Args:
        tasks: Task objects by name.
        raw: Task name to the raw prediction [C, H, W] at the image's size.
        labels: Task name to the label [1 or 3, H, W]; tasks without one are absent. None: the image has no labels.
    """
    if labels is None:
        return [_predicted(task, raw[name]) for name, task in tasks.items()]
    return [_compared(task, raw[name], labels.get(name)) for name, task in tasks.items()]


def _predicted(task: Task, raw: Tensor) -> Column:
    return Column(task.title, [Panel(task.title, task.picture(raw), task.key)], task.legend(raw))


def _compared(task: Task, raw: Tensor, label: Tensor | None) -> Column:
    prediction = Panel(f"{task.title}: prediction", task.picture(raw), task.key)
    if label is None:
        blank = [Panel("no label", None), Panel("", None)]
        return Column(task.title, [prediction, *blank], task.legend(raw))
    error = task.error(raw, label)
    known = np.abs(error[~np.isnan(error)])
    score = task.error_text.format(known.mean(dtype=float)) if known.size else "nothing labelled"
    truth = Panel("label", task.target_picture(label), task.key)
    wrong = Panel(score, task.error_scale.picture(error), task.error_scale)
    return Column(task.title, [prediction, truth, wrong], task.legend(raw, label), score)
