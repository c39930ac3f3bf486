"""Auxiliary tasks: predicted on the way to help the others, and not served."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.common.reference import in_order, key_of
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
        intermediate = tuple({task: self.enlarged(maps[key_of(task)]) for task in predictions} for maps in sets)
        return TrainingOutput(predictions, intermediate)

    def enlarged(self, prediction: Tensor) -> Tensor:
        """Resize a prediction bilinearly to the input size."""
        return F.interpolate(prediction, size=self.problem.input_size, mode="bilinear", align_corners=False)


def on_the_way(problem: Problem, auxiliary: tuple[AuxiliaryTask, ...]) -> tuple[TaskSpec, ...]:
    """Return the tasks of the intermediate predictions, in the order of the reference: the problem's and the others."""
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
