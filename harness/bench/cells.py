"""Cells of a matrix of costs: the methods of a command on the tasks of its data sets, and their records."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from harness.compute import Precision
from harness.config import BenchConfig
from harness.data.dataset import Dataset
from harness.data.open import named_tasks
from harness.errors import MethodError, UsageError, described
from harness.files import digest
from harness.method import Method, accounting_of
from harness.probes.environment import provenance
from harness.problem import Problem
from harness.records import DatasetInfo, Record, build_record
from harness.registry import load_dataset
from harness.run.configure import check_artifact, configure, method_of
from harness.run.job import Artifact
from harness.run.record import method_info
from harness.weights import WeightFile

SEED = 0
"""Weights and images are drawn from it, so that every command measures the same."""

_NOISE = "what this method computes depends on the image, and it was measured on random ones"


@dataclass(frozen=True)
class Cell:
    """A method whose costs are wanted on the tasks of a data set."""

    method: Method
    dataset: Dataset
    problem: Problem


@dataclass(frozen=True)
class Context:
    """Settings that all cells of a command share.

    Attributes:
        config: The matrix.
        device: Device to measure on.
        probes: Costs that are wanted.
        artifact: Artifact to measure; None for random weights or a published checkpoint.
        published: Published checkpoint to measure.
    """

    config: BenchConfig
    device: torch.device
    probes: tuple[str, ...]
    artifact: Artifact | None
    published: WeightFile | None


def cells_of(context: Context) -> Iterator[Cell]:
    """Yield every method of a command on every data set with every backbone and setting that is shown.

    Raises:
        UsageError: a wrong name or option, or a checkpoint of something else.
        MethodError: a method gives no variants.
    """
    config = context.config
    manifest = context.artifact.manifest if context.artifact else None
    if context.artifact is not None:
        method_of(context.artifact.manifest, context.artifact.path)
    stored = manifest.options if manifest else None
    for name in config.dataset:
        dataset = load_dataset(name)
        # The tasks and the input size: the artifact's, else those asked for, else the data set's own.
        if manifest is not None:
            held = manifest.problem()
            names, size = list(held.names), held.input_size
        else:
            asked = config.input_size or dataset.nominal_input_size
            if asked is None:
                raise UsageError(f"{dataset.name} has no nominal input size; give --input-size")
            names, size = config.task, asked
        problem = Problem(named_tasks(dataset, names), size)
        for backbone in config.backbone or [manifest.backbone if manifest else ""]:
            for method in configure(config.method, backbone or None, config.set, stored=stored):
                if manifest is not None:
                    check_artifact(manifest, method, problem, name, f"--checkpoint {config.checkpoint}")
                # Options that were set for this method, as KEY or METHOD.KEY: there are no variants of those.
                owned = [key.rpartition(".") for key in config.set]
                given = {key for owner, _, key in owned if owner in ("", method.name)}
                try:
                    variants = [
                        type(method)(options, method.backbone, method.weights)
                        for options in accounting_of(method).variants(given)
                    ]
                except (Exception, SystemExit) as error:  # whatever a method raises is its failure
                    raise MethodError(f"method {method.name}: variants: {described(error)}") from error
                yield from (Cell(variant, dataset, problem) for variant in variants)


def new_record(cell: Cell, precision: Precision, context: Context) -> Record:
    """Return the record of a cell at a precision, without its costs."""
    config, method = context.config, cell.method
    here = provenance(context.device)  # with the switches that the precision has set
    # Name and sha256 of the checkpoint that is measured.
    artifact, file = context.artifact, context.published
    loaded = f"{file.path.name} sha256:{file.sha256}" if file is not None else None
    if artifact is not None:
        loaded = f"{artifact.path.name} sha256:{artifact.sha256}"
    identity = {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "backbone": method.backbone,
        "artifact": loaded,
        "dataset": cell.dataset.name,
        "tasks": cell.problem.names,
        "input_size": cell.problem.input_size,
        "precision": precision,
        "device": context.device.type,
        "system": here.system_id,
        **config.model_dump(include={"batch_size", "compile", "cuda_graph", "channels_last", "runtime", "quantise"}),
    }
    name = f"{method.name}.{method.backbone}.bench.{precision}.{digest(identity)[:8]}"
    return build_record(
        f"{cell.dataset.name}/{name}",
        identity,
        here,
        method_info(method, "checkpoint" if loaded else "random", loaded),
        DatasetInfo.without_images(cell.dataset.name, cell.dataset.synthetic, images=0),
        source="measured",
        status="partial",
        config=config.model_dump(mode="json"),
        protocol_name="none",
        protocol={},
        budget=None,
        input_size=cell.problem.input_size,
        precision=precision,
        device=context.device.type,
        seed=SEED,
        warnings=[_NOISE] if accounting_of(method).data_dependent else [],
    )
