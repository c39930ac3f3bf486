"""The record of a job before anything is known."""

from datetime import UTC, datetime

from harness.files import digest
from harness.method import Method
from harness.probes.environment import command_line, environment, software, system_id
from harness.records import (
    Init,
    MethodInfo,
    Record,
)
from harness.registry import source_digest
from harness.run.job import Job
from harness.weights import WeightFile


def new_record(job: Job) -> Record:
    """Return the record of a job that begins."""
    now = datetime.now(UTC)
    system = environment(job.compute.device)
    config = job.config
    # Origin of the model, with the name and sha256 of the file it was loaded from.
    weights = job.method.weights
    init: Init = "random"
    source = None
    if job.artifact is not None:
        init, source = "checkpoint", f"{job.artifact.path.name} sha256:{job.artifact.sha256}"
    elif job.published is not None:
        init, source = "checkpoint", f"{job.published.path.name} sha256:{job.published.sha256}"
    elif isinstance(weights, WeightFile):
        init, source = "file", f"{weights.path.name} sha256:{weights.sha256}"
    elif weights is not None:
        init = weights
    return Record(
        run_id=job.run_id,
        source="measured",
        status="partial",
        created_at=now,
        updated_at=now,
        harness=software(),
        command=command_line(),
        config=config.model_dump(mode="json"),
        config_hash=digest(job.identity),
        method=method_info(job.method, init, source),
        dataset=job.data.info(),
        protocol_name=config.protocol_name,
        protocol=job.data.protocol.model_dump(mode="json"),
        budget=config.budget,
        input_size=job.data.problem.input_size,
        precision=config.precision,
        device=job.compute.device.type,
        seed=job.seed,
        system_id=system_id(system),
        environment=system,
        warnings=job.data.warnings,
    )


def method_info(method: Method, init: Init, source: str | None) -> MethodInfo:
    """Return what a record says of a method.

    Args:
        method: The method, set up.
        init: Where its model comes from.
        source: Name and sha256 of what was loaded.
    """
    return MethodInfo(
        name=method.name,
        summary=method.summary,
        paper=method.paper,
        is_reference=method.is_reference,
        backbone=method.backbone,
        init=init,
        checkpoint=source,
        options=method.options.model_dump(mode="json"),
        plugin=type(method).__module__,
        source=source_digest(type(method)),
    )
