"""Intermediate predictions and distillation between tasks, which PAD-Net and MTI-Net have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.common.tasks import in_order, key_of
from harness.errors import UsageError
from harness.method import MethodOptions, MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem, TaskSpec

AuxiliaryTask = Literal["saliency", "normals", "depth", "boundary"]
"""Tasks whose output follows from their name; the others have a label space that only a data set knows."""


class AuxiliaryOptions(MethodOptions):
    """Options of the methods with intermediate predictions."""

    auxiliary: tuple[AuxiliaryTask, ...] = Field(
        default=(),
        description="Tasks predicted on the way beside those of the problem, separated by commas. Published for NYUD: "
        "normals,boundary beside semseg and depth. For published checkpoints and costs; training needs their labels, "
        "so it takes none beyond the tasks that are run.",
    )

    @field_validator("auxiliary", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


TaskMaps = dict[str, Tensor]
"""Maps by task, under the reference's names."""


class AuxiliaryModel(MultiTaskModel):
    """A model that predicts on the way to its predictions, more coarsely."""

    @abstractmethod
    def with_auxiliary(
        self, images: Tensor, tasks: Sequence[str] | None = None
    ) -> tuple[Predictions, tuple[TaskMaps, ...]]:
        """Predict, and return what was predicted on the way.

        Args:
            images: As for `forward`.
            tasks: Tasks of the final predictions; None for all.

        Returns:
            The final predictions, and sets of predictions of all auxiliary tasks as the network makes them,
            [B, C, H/s, W/s].
        """

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict; of the auxiliary predictions, those of the tasks asked for come along at the input size."""
        predictions, sets = self.with_auxiliary(images, tasks)
        # [B, C, H, W] per task and set: losses are computed at the size of the labels
        intermediate = tuple({task: self.enlarged(maps[key_of(task)]) for task in predictions} for maps in sets)
        return TrainingOutput(predictions, intermediate)

    def enlarged(self, prediction: Tensor) -> Tensor:
        """Resize a prediction bilinearly to the input size, [B, C, h, w] to [B, C, H, W]."""
        return F.interpolate(prediction, size=self.problem.input_size, mode="bilinear", align_corners=False)


def on_the_way(problem: Problem, auxiliary: tuple[AuxiliaryTask, ...]) -> tuple[TaskSpec, ...]:
    """Return the tasks of the intermediate predictions, in the order of the reference: the problem's and the others."""
    # Tasks of the problem keep their label spaces; the others follow from their names
    extra = [TaskSpec(name) for name in dict.fromkeys(auxiliary) if name not in problem.names]
    return in_order([*problem, *extra])


def check_supervised(problem: Problem, auxiliary: tuple[AuxiliaryTask, ...], method: str) -> None:
    """Check that training has labels for the auxiliary tasks.

    Raises:
        UsageError: the problem lacks one.
    """
    unlabelled = [name for name in auxiliary if name not in problem.names]
    if unlabelled:
        raise UsageError(
            f"method {method}: --set auxiliary: {', '.join(unlabelled)} would be trained without labels, for only the "
            f"tasks that are run have them; add them with -t, or take the option for checkpoints and costs alone"
        )


class Message(nn.Module):
    """Weights of the message from one task to another: W of its features, V of the mask that gates them.

    Args:
        channels: Channels of both tasks' features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    @property
    def kernels(self) -> tuple[Tensor, Tensor]:
        """Kernels of the features and of the mask, each [C, C, 3, 3]."""
        [attention] = self.attention
        assert isinstance(attention, nn.Conv2d)
        return self.conv.weight, attention.weight


class Distillation(nn.Module):
    """Distillation C of PAD-Net: F_t + sum over the other tasks s of W_ts F_s * sigmoid(V_ts F_s) (equation 3).

    W and V are 3 x 3 convolutions, and no two pairs of tasks share them. Tasks have the reference's names.

    Args:
        targets: Tasks that receive.
        sources: Tasks that send, the targets among them.
        channels: Channels of every task's features.
    """

    def __init__(self, targets: Sequence[TaskSpec], sources: Sequence[TaskSpec], channels: int) -> None:
        super().__init__()
        keys = [key_of(task.name) for task in sources]
        self.self_attention = nn.ModuleDict(
            {
                target: nn.ModuleDict({source: Message(channels) for source in keys if source != target})
                for target in (key_of(task.name) for task in targets)
            }
        )

    def forward(self, features: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """Distil.

        All that a task sends is one convolution, whose kernels are put together here: the receivers read the same map.

        Args:
            features: [B, C, h, w] of every source.
            targets: Tasks to distil for.

        Returns:
            [B, C, h, w] of every target.
        """
        received = {target: features[target] for target in targets}  # F_t, [B, C, h, w]
        for source, map_ in features.items():
            others = [target for target in targets if target != source]
            if not others:
                continue
            # Kernels of all receivers in one convolution, values before masks: [2 R C, C, 3, 3] for R receivers
            features_of, masks_of = zip(*(self._message(target, source).kernels for target in others), strict=True)
            values, masks = F.conv2d(map_, torch.cat(features_of + masks_of), padding=1).chunk(2, dim=1)
            # values * sigmoid(masks), [B, R C, h, w], taken apart by receiver
            for target, value in zip(others, (values * masks.sigmoid()).chunk(len(others), dim=1), strict=True):
                received[target] = received[target] + value
        return received

    def _message(self, target: str, source: str) -> Message:
        messages = self.self_attention[target]
        assert isinstance(messages, nn.ModuleDict)
        message = messages[source]
        assert isinstance(message, Message)
        return message
