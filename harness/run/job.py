"""What one cell of the matrix is, and what its figures depend on."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.config import RunConfig
from harness.data.open import OpenedData
from harness.files import digest
from harness.method import Method, Stage
from harness.tasks import build_task
from harness.tasks.base import Task
from harness.weights import WeightFile
from harness.weights.artifact import digest_artifact, read_manifest


@dataclass(frozen=True)
class Job:
    """What to run and where its files go.

    Attributes:
        method: The method, set up.
        data: The opened data set, with the protocol that holds on it.
        seed: Source of all randomness.
        config: The matrix this is a cell of.
        command: Command line to store with the record.
        device: Where to compute.
        artifact: Artifact to evaluate instead of training; None to make one.
        published: Published checkpoint to make it from; None to train.
        extend: Artifact to add the missing tasks to; None to train all of them.
        predictions: Folder to save the predictions in; None to save none.
    """

    method: Method
    data: OpenedData
    seed: int
    config: RunConfig
    command: list[str]
    device: torch.device
    artifact: Path | None
    published: WeightFile | None = None
    extend: Path | None = None
    predictions: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the figures depend on; equal identities give equal figures."""
        config, data, weights = self.config, self.data, self.method.weights
        return {
            "method": self.method.name,
            "options": self.method.options.model_dump(mode="json"),
            "backbone": self.method.backbone,
            "weights": weights.sha256 if isinstance(weights, WeightFile) else weights,
            "artifact": digest_artifact(self.artifact) if self.artifact else None,
            "published": self.published.sha256 if self.published else None,
            "extend": digest_artifact(self.extend) if self.extend else None,
            "dataset": data.dataset.name,
            "val": data.val.fingerprint,
            "train": data.train.fingerprint if data.train else None,
            "tasks": list(data.problem.names),
            "input_size": list(data.problem.input_size),
            "protocol": data.protocol.model_dump(mode="json"),
            "budget": config.budget,
            "stages": [_recipe(stage) for stage in self.stages()] if self.trains else None,
            "precision": config.precision,
            "device": self.device.type,
            "seed": self.seed,
        }

    def stages(self) -> list[Stage]:
        """Return the recipe, that of the added tasks alone where there is an artifact to extend."""
        stages = self.method.stages(self.data.problem, self.config.budget)
        if self.extend is not None:
            held = {spec.name for spec in read_manifest(self.extend).problem()}
            stages = [stage for stage in stages if not held.issuperset(stage.tasks)]
        if self.config.iterations is None:
            assert self.data.train is not None
            return [stage.sized(len(self.data.train)) for stage in stages]
        return [replace(stage, iterations=self.config.iterations) for stage in stages]

    @property
    def trains(self) -> bool:
        """Whether the model is trained here."""
        return self.artifact is None and self.published is None

    @property
    def folder(self) -> Path:
        """Folder of the run: its record, its artifact and, while training, its checkpoint."""
        method = self.method
        name = f"{method.name}.{method.backbone}.{self.config.budget}.seed{self.seed}.{digest(self.identity)[:8]}"
        return self.config.output / self.data.dataset.name / name

    @property
    def run_id(self) -> str:
        """The folder below the results folder."""
        return f"{self.data.dataset.name}/{self.folder.name}"

    @property
    def title(self) -> str:
        """What the run is called in progress bars and messages."""
        return f"{self.method.name} on {self.data.dataset.name}, seed {self.seed}:"

    def tasks(self) -> dict[str, Task]:
        """Return the tasks by name."""
        return {spec.name: build_task(spec) for spec in self.data.problem}


def _recipe(stage: Stage) -> dict[str, Any]:
    """Return a stage as plain values; functions by their names."""
    functions = {"weigh": stage.weigh, "terms": stage.terms, "prepare": stage.prepare}
    values = asdict(replace(stage, weigh=None, terms=None, prepare=None))
    return values | {key: getattr(call, "__qualname__", None) for key, call in functions.items()}
