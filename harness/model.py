"""Base class of models: images to raw maps of all tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from harness.errors import MethodError
from harness.problem import Problem

Predictions = dict[str, Tensor]
"""Task name to raw map [B, C, H, W] at input size."""


@dataclass(frozen=True)
class TrainingOutput:
    """Output of a model in training.

    Attributes:
        predictions: The final predictions.
        intermediate: Further predictions that are supervised with the same losses and weights,
            for example those before a cross-task decoder.
    """

    predictions: Predictions
    intermediate: tuple[Predictions, ...] = ()


class MultiTaskModel(nn.Module, ABC):
    """A network, or several, that predicts every task of a problem.

    Args:
        problem: The tasks and the input size.

    Attributes:
        notes: Caveats about the initial weights, copied to the record's warnings. Encoders have their own; only models
            that hold the network of an encoder without the encoder set them.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.notes: tuple[str, ...] = ()

    unused: tuple[str, ...] = ()
    """Prefixes of weights that published checkpoints hold and no prediction depends on; they are kept and not run."""

    @abstractmethod
    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict.

        Args:
            images: Normalised RGB, [B, 3, H, W] at ``problem.input_size``.
            tasks: Tasks to predict; None for all. Nothing is computed that they do not need.

        Returns:
            Raw maps at input size: semseg and parts [B, classes, H, W], saliency [B, 2, H, W] for a softmax or
            [B, 1, H, W] for a sigmoid, normals [B, 3, H, W], depth and boundary [B, 1, H, W].
        """

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict while training; models with intermediate predictions override this."""
        return TrainingOutput(self(images, tasks))

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the modules that parameters and costs are reported for, disjoint, by name."""
        return dict(self.named_children())


def check_predictions(predictions: object, images: Tensor, problem: Problem, tasks: Sequence[str]) -> None:
    """Check the form of raw maps; their values are looked at by `harness.run.evaluate`.

    Args:
        predictions: Whatever a model returned.
        images: What it was given, [B, 3, H, W].
        problem: The problem of the model.
        tasks: Tasks that were asked for.

    Raises:
        MethodError: a map is missing, or is no tensor of numbers [B, C, H, W] with the channels of its task.
    """
    if not isinstance(predictions, Mapping):
        raise MethodError(f"a model must return a dictionary of task to map, not {type(predictions).__name__}")
    batch, _, height, width = images.shape
    for task in tasks:
        if task not in predictions:
            raise MethodError(f"a model returned no prediction of {task}, of the tasks {', '.join(tasks)}")
        raw = predictions[task]
        if not isinstance(raw, Tensor) or not raw.is_floating_point():
            kind = str(raw.dtype) if isinstance(raw, Tensor) else type(raw).__name__
            raise MethodError(f"the prediction of {task} is of type {kind}; it must be a tensor of real numbers")
        # Saliency comes as two maps for a softmax or as one for a sigmoid.
        channels = (1, 2) if task == "saliency" else (problem.task(task).channels,)
        if raw.ndim != 4 or raw.shape[1] not in channels or (len(raw), *raw.shape[2:]) != (batch, height, width):
            wanted = [batch, channels[-1], height, width]
            raise MethodError(f"the prediction of {task} has the shape {list(raw.shape)}, not {wanted}")
