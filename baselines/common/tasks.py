"""Conventions of the code bases that the baselines come from: names, order, channels and heads of tasks."""

from collections.abc import Iterable, Sequence

from torch import nn

from harness.backbones import Encoder
from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.resnet import ResNetEncoder
from harness.heads.convnext import task_head
from harness.heads.convolutional import DeepLabHead, HighResolutionHead
from harness.problem import TaskSpec

ORDER = ("semseg", "parts", "saliency", "normals", "boundary", "depth")
"""Order of the tasks in Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021): MTI-Net, PAD-Net and others."""

# Where checkpoints of the field name a task otherwise than the protocol does
_NAMES = {"parts": "human_parts", "saliency": "sal", "boundary": "edge"}


def key_of(task: str) -> str:
    """Return a task's name in checkpoints of the field: ``human_parts``, ``sal``, ``edge``; others keep theirs."""
    return _NAMES.get(task, task)


def task_of(key: str) -> str:
    """Return the task that checkpoints of the field call ``key``, by the name in the protocol."""
    return next((task for task, name in _NAMES.items() if name == key), key)


def in_order(tasks: Iterable[TaskSpec], order: Sequence[str] = ORDER) -> tuple[TaskSpec, ...]:
    """Return tasks in the order of a code base, whatever the order in which they come.

    Tasks that the code base does not know follow in alphabetical order.

    Args:
        tasks: The tasks, for example a `harness.problem.Problem`.
        order: Every task that the code base knows, by our names.
    """
    # Two keys: the place in the code base, and the name for those that have none
    known = {name: place for place, name in enumerate(order)}
    return tuple(sorted(tasks, key=lambda task: (known.get(task.name, len(known)), task.name)))


def channels_of(task: TaskSpec) -> int:
    """Return the channels of a prediction where saliency is one map for a sigmoid, not two for a softmax."""
    return 1 if task.name == "saliency" else task.channels


def head_for(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a task: features of ``encoder`` to a raw map [B, C, H, W].

    Convolutional encoders get the head of the code base that the field takes their baselines from,
    Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021). It has none for transformers: they get the head of
    the sharing method, so that the two differ in nothing but what is shared.

    Args:
        task: What to predict.
        encoder: What the head reads.
        output_size: (height, width) of the prediction.
    """
    # Each family of encoders by the head that its published baselines have
    match encoder:
        case HRNetEncoder():
            return HighResolutionHead(encoder.channels, channels_of(task), output_size)
        case ResNetEncoder():
            return DeepLabHead(encoder.channels, channels_of(task), output_size)
        case _:
            return task_head(task, encoder.channels, output_size, encoder.cells)
