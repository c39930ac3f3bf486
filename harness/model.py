"""What every model is: images to raw maps of all tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.problem import Problem

Predictions = dict[str, Tensor]
"""Task name to raw map [B, C, H, W] at input size."""


@dataclass(frozen=True)
class TrainingOutput:
    """What a model returns while training.

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
        notes: What a reader of the figures should know of the weights it started from, where it holds the network of
            an encoder instead of the encoder, which has notes of its own.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.notes: tuple[str, ...] = ()

    unused: ClassVar[tuple[str, ...]] = ()
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
