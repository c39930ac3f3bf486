"""The records of costs alone."""

from datetime import UTC, datetime

from harness.bench.cells import Cell, Context
from harness.compute import Precision
from harness.data.dataset import Dataset
from harness.files import digest
from harness.method import accounting_of
from harness.probes.environment import command_line, environment, software, system_id
from harness.records import DatasetInfo, Record
from harness.run.record import method_info

SEED = 0
"""Weights and images are drawn from it, so that every command measures the same."""

_NOISE = "what this method computes depends on the image, and it was measured on random ones"


def new_record(cell: Cell, precision: Precision, context: Context) -> Record:
    """Return the record of a cell at a precision, without its costs."""
    config, method, now = context.config, cell.method, datetime.now(UTC)
    system = environment()  # with the switches that the precision has set
    loaded = _loaded(context)
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
        "system": system_id(system),
        **config.model_dump(include={"batch_size", "compile", "cuda_graph", "channels_last"}),
    }
    name = f"{method.name}.{method.backbone}.bench.{precision}.{digest(identity)[:8]}"
    return Record(
        run_id=f"{cell.dataset.name}/{name}",
        source="measured",
        status="partial",
        created_at=now,
        updated_at=now,
        harness=software(),
        command=command_line(),
        config=config.model_dump(mode="json"),
        config_hash=digest(identity),
        method=method_info(method, "checkpoint" if loaded else "random", loaded),
        dataset=_no_data(cell.dataset),
        protocol_name="none",
        protocol={},
        budget=None,
        input_size=cell.problem.input_size,
        precision=precision,
        device=context.device.type,
        seed=SEED,
        system_id=system_id(system),
        environment=system,
        warnings=[_NOISE] if accounting_of(method).data_dependent else [],
    )


def _loaded(context: Context) -> str | None:
    """Return name and sha256 of the checkpoint that is measured."""
    if context.artifact is not None:
        return f"{context.artifact.path.name} sha256:{context.artifact.sha256}"
    file = context.published
    return f"{file.path.name} sha256:{file.sha256}" if file is not None else None


def _no_data(dataset: Dataset) -> DatasetInfo:
    return DatasetInfo(
        name=dataset.name,
        synthetic=dataset.synthetic,
        build=None,
        split=None,
        fingerprint=None,
        n_expected=0,
        n_evaluated=0,
        train_fingerprint=None,
        n_train=None,
    )
