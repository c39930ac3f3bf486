"""What is measured: the methods of a command on the tasks of its data sets."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from harness.config import BenchConfig
from harness.data.dataset import Dataset
from harness.data.open import named_tasks
from harness.errors import UsageError
from harness.method import Method, accounting_of
from harness.problem import Problem
from harness.registry import load_dataset
from harness.run.configure import check_artifact, configure, method_of
from harness.run.job import Artifact
from harness.weights import WeightFile
from harness.weights.artifact import Manifest


@dataclass(frozen=True)
class Cell:
    """A method whose costs are wanted on the tasks of a data set."""

    method: Method
    dataset: Dataset
    problem: Problem


@dataclass(frozen=True)
class Context:
    """What all cells of a command share."""

    config: BenchConfig
    device: torch.device
    probes: tuple[str, ...]
    artifact: Artifact | None
    published: WeightFile | None


def cells_of(context: Context) -> Iterator[Cell]:
    """Yield every method of a command on every data set with every backbone and setting that is shown.

    Raises:
        UsageError: a wrong name or option, or a checkpoint of something else.
    """
    config = context.config
    manifest = context.artifact.manifest if context.artifact else None
    if context.artifact is not None:
        method_of(context.artifact.manifest, context.artifact.path)
    stored = manifest.options if manifest else None
    for name in config.dataset:
        dataset = load_dataset(name)
        problem = _problem(dataset, config, manifest)
        for backbone in config.backbone or [manifest.backbone if manifest else ""]:
            for method in configure(config.method, backbone or None, config.set, stored=stored):
                if manifest is not None:
                    check_artifact(manifest, method, problem, name, f"--checkpoint {config.checkpoint}")
                for options in accounting_of(method).variants(_given(config, method.name)):
                    yield Cell(type(method)(options, method.backbone, method.weights), dataset, problem)


def _given(config: BenchConfig, method: str) -> set[str]:
    """Return the options that were set for a method."""
    return {key.rpartition(".")[2] for key in config.set if key.rpartition(".")[0] in ("", method)}


def _problem(dataset: Dataset, config: BenchConfig, manifest: Manifest | None) -> Problem:
    if manifest is not None:
        held = manifest.problem()
        return Problem(named_tasks(dataset, held.names), held.input_size)
    size = config.input_size or dataset.nominal_input_size
    if size is None:
        raise UsageError(f"{dataset.name} has no nominal input size; give --input-size")
    return Problem(named_tasks(dataset, config.task), size)
