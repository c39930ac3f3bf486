"""The contract of a method: one way to serve all tasks, as a single class in a single file."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor

from harness.counting import MacReport, count_macs
from harness.errors import UsageError
from harness.model import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem
from harness.recipe import Budget, Optimizer, ParameterGroup, Schedule, Stage
from harness.records.costs import Sparsity
from harness.records.metric import Metric
from harness.weights import Weights, load_exactly
from harness.weights.artifact import Manifest, read_manifest, read_tensors, tensor_bytes
from harness.weights.state import Adapted, State

__all__ = [
    "Budget",
    "Method",
    "MethodOptions",
    "MultiTaskModel",
    "Optimizer",
    "ParameterGroup",
    "Predictions",
    "Schedule",
    "Score",
    "Stage",
    "TrainingOutput",
]

Score = Callable[[MultiTaskModel, Sequence[str]], Mapping[str, Metric]]
"""Headline figures of a model on some tasks, on training images as they are evaluated."""


class MethodOptions(BaseModel):
    """Base of a method's options: its fields are the keys of ``--set key=value``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(ABC):
    """A way to serve all tasks of a problem.

    Args:
        options: The method's options, an instance of ``Options``.
        backbone: Name of the encoder, a key of `harness.backbones`.
        weights: What encoders start from, to be handed to `harness.backbones.build_backbone`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for ``harness ls methods``."""
    paper: ClassVar[str | None] = None
    """Citation of the paper the method comes from."""
    is_reference: ClassVar[bool] = False
    """Whether the method's row is what the multi-task gain is measured against."""
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-b16"}
    """Encoder of a budget unless the user names one."""
    families: ClassVar[tuple[str, ...]] = ()
    """Families of encoders it runs on, keys of `harness.backbones.FAMILIES`; empty for all."""
    data_dependent: ClassVar[bool] = False
    """Whether what is computed depends on the image, so that costs are counted over a whole split."""
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(self, options: MethodOptions, backbone: str, weights: Weights = None) -> None:
        self.options = options
        self.backbone = backbone
        self.weights = weights

    @abstractmethod
    def build(self, problem: Problem) -> MultiTaskModel:
        """Return an untrained model for ``problem``."""

    @abstractmethod
    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return the training recipe of a budget."""

    def stand_in(self, problem: Problem) -> MultiTaskModel:
        """Return an untrained model that costs what a trained one does, for measurements without training.

        The default is the untrained model; methods whose costs depend on what they learn override this.
        """
        return self.build(problem)

    def variants(self, given: Collection[str]) -> Sequence[MethodOptions]:
        """Return the options that ``harness bench`` shows beside each other; by default only those in force.

        Args:
            given: Options that were set by the user, who wants no others.
        """
        return [self.options]

    def calibrate(self, model: MultiTaskModel, score: Score) -> None:  # noqa: B027 - most methods have nothing to set
        """Set what is chosen on training images once the model is trained, before it is saved."""

    def extend(self, folder: Path, problem: Problem) -> MultiTaskModel:
        """Return the model of an artifact with the tasks of ``problem`` that it lacks added, untrained.

        Only the stages of the added tasks are trained then, and the files of the artifact stay as they are.

        Raises:
            UsageError: this method must be trained for all tasks at once, or the artifact does not fit.
        """
        raise UsageError(f"{self.name} cannot add tasks to an artifact; train it for all tasks at once")

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Put a published checkpoint of the whole method under the keys of its model.

        The default takes it as it is, which suits models that keep the keys of their reference. What is missing, left
        over or of another shape afterwards is refused.

        Args:
            state: Weights by key, without wrappers and the prefix ``module.``.
            model: What they will be loaded into.
        """
        return Adapted(state)

    def macs(self, model: MultiTaskModel, images: Tensor) -> MacReport:
        """Count the MACs of one forward pass of all tasks.

        The default counts what is executed and takes it for dense; methods that skip work override this.

        Args:
            model: In evaluation mode.
            images: [1, 3, H, W] on the model's device.
        """
        count = count_macs(lambda: model(images), model.parts())
        return MacReport(executed=count, dense=count.macs)

    def statistics(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, pd.DataFrame]:
        """Return figures per layer (rows) and task (columns) by title; they are drawn next to the record.

        Args:
            model: In evaluation mode.
            images: Some images of the split that was scored, [B, 3, H, W].
        """
        return {}

    def sparsity(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, Sparsity]:
        """Return what each task has of its own, where weights and computation are shared sparsely; else nothing.

        Args:
            model: In evaluation mode.
            images: Some images of the split that was scored, [B, 3, H, W].
        """
        return {}

    def storage_parts(self, model: MultiTaskModel, folder: Path) -> Mapping[str, int]:
        """Return bytes of the artifact by part of the model; a part named ``<kind>/<task>`` serves that task alone.

        The default splits the tensors of ``model.safetensors`` by `MultiTaskModel.parts`.
        """
        return tensor_bytes(folder / "model.safetensors", model)

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return what ``harness show`` tells of an artifact beside its manifest and its files."""
        return {}

    def save(self, model: MultiTaskModel, folder: Path) -> None:
        """Write the deployable artifact into ``folder``, which exists and is empty.

        Its files are what must be shipped to serve all tasks, so their bytes are the storage figure.
        The default writes every parameter and buffer as it is.
        """
        save_file(model.state_dict(), folder / "model.safetensors")
        self.write_manifest(model.problem, folder)

    def load(self, folder: Path, tasks: Sequence[str] | None = None) -> MultiTaskModel:
        """Return the model of an artifact that `save` wrote.

        Args:
            folder: The artifact.
            tasks: Tasks that will be asked for; what they do not need may be left unread. None for all.

        Raises:
            UsageError: the folder is no artifact, is damaged, or does not fit this method.
        """
        untrained = type(self)(self.options, self.backbone)  # published weights would be fetched to be overwritten
        model = untrained.build(read_manifest(folder).problem())
        path = folder / "model.safetensors"
        load_exactly(model, read_tensors(path), source=f"artifact {folder}: {path.name}")
        return model

    def write_manifest(self, problem: Problem, folder: Path) -> None:
        """Write ``artifact.json``: what is needed to build the model again."""
        manifest = Manifest(
            format=1,
            method=self.name,
            backbone=self.backbone,
            options=self.options.model_dump(mode="json"),
            input_size=problem.input_size,
            tasks=[asdict(task) for task in problem],
        )
        (folder / "artifact.json").write_text(manifest.model_dump_json(indent=1) + "\n")
