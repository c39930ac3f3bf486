"""The record of a job before anything is known."""

from dataclasses import replace

from harness.backbones.own_weights import own_sha256
from harness.backbones.shapes import OWN
from harness.method import Method
from harness.probes.environment import provenance
from harness.records import (
    Init,
    MethodInfo,
    Record,
    build_record,
)
from harness.registry import source_digest
from harness.run.job import Job
from harness.training import parallel
from harness.weights import WeightFile


def new_record(job: Job) -> Record:
    """Return the record of a job that begins."""
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
        if job.method.backbone in OWN:
            source = f"{job.method.backbone}.safetensors sha256:{own_sha256(job.method.backbone)}"
    origin = provenance(job.compute.device)
    return build_record(
        job.run_id,
        job.identity,
        replace(origin, environment=origin.environment | parallel.described()),
        method_info(job.method, init, source),
        job.data.info(),
        source="measured",
        status="partial",
        config=config.model_dump(mode="json"),
        protocol_name=config.protocol_name,
        protocol=job.data.protocol.model_dump(mode="json"),
        budget=config.budget,
        input_size=job.data.problem.input_size,
        precision=config.precision,
        device=job.compute.device.type,
        seed=job.seed,
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
