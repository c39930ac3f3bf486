"""Optional parts of a method: an accounting of its costs, an artifact format, extension, calibration and more.

A method takes part by defining the members of one; there are defaults for all. `Accounting` is a class that the method
names as its ``Accounting``; the others are protocols of one or two functions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import pandas as pd
from torch import Tensor

from harness.counting import MacReport, count_macs
from harness.method.contract import Method
from harness.method.options import MethodOptions
from harness.model import MultiTaskModel
from harness.problem import Problem
from harness.records.calibration import Walked
from harness.records.costs import Sparsity
from harness.records.metric import Metric
from harness.weights.artifact import tensor_bytes
from harness.weights.state import Adapted, State

Score = Callable[[MultiTaskModel, Sequence[str]], Mapping[str, Metric]]
"""Headline metrics of a model on some tasks, on training images that are prepared as for evaluation."""

AnyMethod = TypeVar("AnyMethod", bound=Method)


class Accounting(Generic[AnyMethod]):
    """Costs of a method beyond the defaults: of data-dependent computation and of sparsely shared weights.

    The defaults suit a method that computes the same for every image and whose costs do not depend on training.

    Args:
        method: The method, set up.
    """

    data_dependent: ClassVar[bool] = False
    """Whether the computation depends on the image, so that costs are counted over a whole split."""

    def __init__(self, method: AnyMethod) -> None:
        self.method = method

    def untrained(self, problem: Problem) -> MultiTaskModel:
        """Return an untrained model with realistic sparsity, for measurements without training."""
        return self.method.build(problem)

    def variants(self, given: Collection[str]) -> Sequence[MethodOptions]:
        """Return the options that ``harness bench`` shows next to each other; by default only those in force.

        Args:
            given: Options that were set by the user, who wants no others.
        """
        return [self.method.options]

    def macs(self, model: MultiTaskModel, images: Tensor) -> MacReport:
        """Count the MACs of one forward pass of all tasks; by default those executed, which are taken for dense.

        Args:
            model: In evaluation mode.
            images: [1, 3, H, W] on the model's device.
        """
        count = count_macs(lambda: model(images), model.parts())
        return MacReport(executed=count, dense=count.macs)

    def layer_statistics(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, pd.DataFrame]:
        """Return values between 0 and 1 per layer (rows) and task (columns) by title, for heat maps.

        Args:
            model: In evaluation mode.
            images: Some images of the split that was scored, [B, 3, H, W].
        """
        return {}

    def sparsity(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, Sparsity]:
        """Return the fractions of weights and tokens that each task does not share; empty without sparse sharing.

        Args:
            model: In evaluation mode.
            images: Some images of the split that was scored, [B, 3, H, W].
        """
        return {}

    def bytes_per_part(self, model: MultiTaskModel, folder: Path) -> Mapping[str, int]:
        """Return bytes of the artifact by part of the model; a part named ``<kind>/<task>`` serves that task alone.

        The default splits the tensors of ``model.safetensors`` by `MultiTaskModel.parts`.
        """
        return tensor_bytes(folder / "model.safetensors", model)

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return fields that ``harness show`` adds to the manifest and the files of an artifact."""
        return {}


def accounting_of(method: Method) -> Accounting[Method]:
    """Return the accounting of a method: an instance of its ``Accounting``, or the default."""
    accounting: Accounting[Method] = getattr(method, "Accounting", Accounting)(method)
    return accounting


@runtime_checkable
class ArtifactFormat(Protocol):
    """Artifact format of a method that exports less than every tensor of its model, or in several files."""

    def save(self, model: MultiTaskModel, folder: Path) -> None:
        """Write the artifact into ``folder``, which exists and is empty; see `harness.method.save_artifact`.

        Its files are all that is needed to serve all tasks, so their bytes are the storage. One of them is the
        manifest, see `harness.method.write_manifest`.
        """

    def load(self, folder: Path, tasks: Sequence[str] | None = None) -> MultiTaskModel:
        """Return the model of an artifact.

        Args:
            folder: The artifact.
            tasks: Tasks that will be asked for; the files of others may be left unread. None for all.

        Raises:
            UsageError: the folder is no artifact, is damaged, or does not fit this method.
        """


@runtime_checkable
class Extension(Protocol):
    """Extension of an artifact by further tasks, with ``harness run --extend``."""

    def extend(self, folder: Path, problem: Problem) -> MultiTaskModel:
        """Return the model of an artifact with the tasks of ``problem`` that it lacks added, untrained.

        Only the stages of the added tasks are trained then, and the files of the artifact stay as they are.

        Raises:
            UsageError: the artifact does not fit.
        """


@runtime_checkable
class Calibration(Protocol):
    """Calibration on training images after training and before export, such as the choice of thresholds."""

    def calibrate(self, model: MultiTaskModel, score: Score) -> Sequence[Walked] | None:
        """Change the trained model in place; return the settings that were looked at, where they are a list."""


@runtime_checkable
class PublishedKeys(Protocol):
    """Keys of published checkpoints that differ from those of the method's model."""

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Put a published checkpoint of the whole method under the keys of its model.

        Keys that are missing, left over or of another shape afterwards are refused.

        Args:
            state: Weights by key, without wrappers and the prefix ``module.``.
            model: The model they will be loaded into.
        """


@runtime_checkable
class MatchedEffort(Protocol):
    """Training that takes its length from the other methods of a command, for references of equal effort."""

    def match(self, images: Mapping[str, int]) -> None:
        """Take the images that every task is trained on elsewhere, at most; `Method.stages` is called after it.

        Raises:
            UsageError: it was asked to match others, and there are none.
        """


OF_ACCOUNTING = ("stand_in", "variants", "macs", "statistics", "sparsity", "storage_parts", "describe")
"""Members that methods of the first version defined themselves; there they would be overlooked now."""
