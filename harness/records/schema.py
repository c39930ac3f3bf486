"""Schema of a result."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from harness.records.costs import Ceilings, Energy, Latency, Macs, Memory, Parameters, Sparsity, Storage
from harness.records.metric import Metric

Init = Literal["random", "pretrained", "file", "checkpoint", "predictions", "reported"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Software(_Part):
    """The harness that made the record."""

    version: str
    git_commit: str | None = Field(description="Commit of the source checkout; null when installed from a wheel.")
    git_dirty: bool | None = Field(description="Whether tracked files differed from that commit.")
    source: str | None = Field(
        default=None,
        description="sha256 over the harness's own Python files that train, run and score; null in older records.",
    )


class MethodInfo(_Part):
    """The method and how it was set up."""

    name: str
    summary: str
    paper: str | None
    is_reference: bool = Field(description="Whether multi-task gains are measured against this row.")
    backbone: str | None = Field(description="Null where only predictions are at hand.")
    init: Init = Field(
        description="Where the model comes from; `file`: its encoders started from a file of weights; `checkpoint`: "
        "all of it was loaded; `predictions`: it was run elsewhere, its predictions were scored here; `reported`: all "
        "that is known is what a source prints."
    )
    checkpoint: str | None = Field(description="Name and sha256 of the weights or predictions that were loaded.")
    options: dict[str, Any]
    plugin: str | None = Field(description="Module that defines it; null where only predictions are at hand.")
    source: str | None = Field(
        default=None,
        description="sha256 over the file that defines it and the modules next to it that it imports; null in older "
        "records and where only predictions are at hand.",
    )


class DatasetInfo(_Part):
    """The data the figures were measured on; of costs that need none, the data set that poses the tasks."""

    name: str
    synthetic: bool = Field(description="Rendered, not photographed: figures say nothing about real images.")
    build: str | None = Field(description="Null where no data was read.")
    split: str | None = Field(description="Null where no data was read.")
    fingerprint: str | None = Field(description="sha256 over the split's ids and files; null where no data was read.")
    n_expected: int | None = Field(description="Null where a source does not say.")
    n_evaluated: int | None = Field(description="Null where a source does not say.")
    train_fingerprint: str | None
    n_train: int | None


class Reported(_Part):
    """Where the figures of a reported record come from, and what its source prints beside the accuracy.

    Sources count differently (MACs or FLOPs, one task or all of them, named or unnamed tools), so these figures are
    kept as they are printed, apart from what the harness measures.
    """

    source: str = Field(description="Document that prints the figures.")
    locator: str = Field(description="Place in it.")
    tier: Literal["own", "quoted"] = Field(description="Whether the method's authors print them, or others.")
    note: str | None
    differs: str | None = Field(description="Why the figures are known not to compare with those of other sources.")
    delta_m_percent: float | None = Field(description="As printed, against the source's own reference.")
    gflops: float | None
    parameters_m: float | None
    latency_ms: float | None


class Gain(_Part):
    """Multi-task gain (Maninis et al., CVPR 2019, equation 4) in percent; positive is better."""

    value: float | None
    reference: str | None = Field(description="run_id of the single-task record it is measured against.")
    reason: str | None = None


class Phase(_Part):
    """Wall-clock time of one phase of the run."""

    name: str
    seconds: float
    resumed: bool = Field(default=False, description="Whether an interrupted run was continued in it.")


class StageInfo(_Part):
    """One training stage."""

    name: str
    iterations: int = Field(description="Steps of the optimiser.")
    final_loss: float | None = Field(description="Weighted loss of the last step that was looked at.")


class Record(_Part):
    """One run of one method on one data set with one seed. Values are unrounded.

    Records of schema version 1 know no costs but parameters and storage, those before version 3 no sparsity and no
    reported figures; they are read as they are.
    """

    schema_version: Literal[1, 2, 3] = 3
    run_id: str
    source: Literal["measured", "reported"]
    status: Literal["partial", "complete", "failed"]
    failure: str | None = None
    created_at: datetime
    updated_at: datetime
    harness: Software
    command: list[str]
    config: dict[str, Any]
    config_hash: str
    method: MethodInfo
    dataset: DatasetInfo
    protocol_name: str
    protocol: dict[str, Any]
    budget: Literal["quick", "full"] | None = Field(description="Null for predictions made elsewhere and costs alone.")
    input_size: tuple[int, int] | None = Field(description="Height and width; null where a source does not say.")
    precision: str | None = Field(description="Null where only predictions are at hand.")
    device: str | None = Field(default=None, description="`cpu` or `cuda`; null where only predictions are at hand.")
    seed: int | None = Field(description="Null where only predictions are at hand.")
    training: list[StageInfo] = Field(default_factory=list)
    metrics: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    delta_m: Gain | None = None
    parameters: Parameters | None = None
    storage: Storage | None = None
    sparsity: dict[str, Sparsity] = Field(
        default_factory=dict, description="Task to what it has of its own; empty where nothing is shared sparsely."
    )
    macs: Macs | None = None
    latency: list[Latency] = Field(default_factory=list, description="One entry per batch size.")
    memory: Memory | None = None
    energy: Energy | None = None
    ceilings: Ceilings | None = None
    custom: dict[str, JsonValue] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,  # records without such probes stay as they were, byte for byte
        description="Probe to its value, of probes that have no field of their own; absent where there are none.",
    )
    unmeasured: dict[str, str] = Field(
        default_factory=dict, description="Probe to why its figure is null; it was not asked for where neither is here."
    )
    phases: list[Phase] = Field(default_factory=list)
    system_id: str = Field(description="Where the costs were measured, or where the run began if none were.")
    environment: dict[str, Any]
    warnings: list[str] = Field(default_factory=list)
    reported: Reported | None = Field(default=None, description="Of records whose source is `reported`, these alone.")

    @model_validator(mode="after")
    def _reported_has_its_source(self) -> Self:
        if (self.source == "reported") != (self.reported is not None):
            raise ValueError("a reported record names the document it is from, and no other record does")
        return self

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        for name, value in self.protocol.items():
            if isinstance(value, list | dict):
                raise ValueError(f"protocol.{name}: a convention is a word, a number or null")
        for task, metrics in self.metrics.items():
            if not metrics:
                raise ValueError(f"metrics.{task}: no metric")
        return self

    @property
    def costs_only(self) -> bool:
        """Whether nothing was scored: the costs of a method on random images, as ``harness bench`` measures them."""
        return self.source == "measured" and self.dataset.fingerprint is None


def conditions(record: Record) -> tuple[object, ...]:
    """Return what two records must share for their figures to be compared.

    Costs alone are compared on one machine only, and never with records that were scored. Papers compare models of
    several input sizes and seldom print them, so the input size is no condition among reported records; those that are
    known to differ from others are kept apart.
    """
    reported = record.reported
    return (
        record.source,
        record.dataset.name,
        record.dataset.fingerprint,
        tuple(sorted(record.protocol.items())),
        reported.differs if reported else record.input_size,
        record.budget,
        record.precision,
        (record.system_id, record.device) if record.costs_only else None,
    )


def headlines(record: Record) -> dict[str, Metric]:
    """Return the figure of every task that the papers' tables print: the first one its meter gives."""
    return {task: next(iter(figures.values())) for task, figures in record.metrics.items()}
