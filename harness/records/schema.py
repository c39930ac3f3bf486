"""Schema of a result.

Records come from many hands. Whatever the readers of records would stumble over is refused here, where a record is
read: numbers that are not finite or not possible, empty names, nested values where a key is made of them.
"""

import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, JsonValue, TypeAdapter, model_validator

from harness.records.costs import Ceilings, Energy, Latency, Macs, Memory, Parameters, Sparsity, Storage
from harness.records.metric import Amount, Count, Metric, Name, Part, Positive, Real

Init = Literal["random", "pretrained", "file", "checkpoint", "predictions", "reported"]


def _finite(value: Any) -> Any:
    """Return a JSON-like value without NaN and infinity.

    Raises:
        ValueError: it has one somewhere, or an integer of more than 64 bits.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an integer of more than 64 bits")
    if isinstance(value, dict):
        for part in value.values():
            _finite(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _finite(part)
    return value


def _of_our_time(moment: datetime) -> datetime:
    """Return a moment that every time zone can show."""
    if not 1970 <= moment.year <= 9000:
        raise ValueError(f"the year {moment.year}")
    return moment


Free = Annotated[dict[str, Any], AfterValidator(_finite)]
"""A JSON object of any content."""
Scalar = Annotated[str | bool | int | float | None, AfterValidator(_finite)]
"""A value that can be compared and be part of a key."""
Moment = Annotated[AwareDatetime, AfterValidator(_of_our_time)]

_JSON: TypeAdapter[JsonValue] = TypeAdapter(Annotated[JsonValue, AfterValidator(_finite)])


def json_value(value: object) -> JsonValue:
    """Return what a third-party probe measured, as a record can store it.

    Raises:
        ValueError: it is no JSON value, or holds NaN or infinity.
    """
    return _JSON.validate_python(value)


class Software(Part):
    """The harness that made the record."""

    version: str
    git_commit: str | None = Field(description="Commit of the source checkout; null when installed from a wheel.")
    git_dirty: bool | None = Field(description="Whether tracked files differed from that commit.")
    source: str | None = Field(
        default=None,
        description="sha256 over the harness's own Python files that train, run and score; null in older records.",
    )


class MethodInfo(Part):
    """The method and how it was set up."""

    name: Name
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
    options: Free
    plugin: str | None = Field(description="Module that defines it; null where only predictions are at hand.")
    source: str | None = Field(
        default=None,
        description="sha256 over the file that defines it and the modules next to it that it imports; null in older "
        "records and where only predictions are at hand.",
    )


class DatasetInfo(Part):
    """The data the values were measured on; of costs that need none, the data set that defines the tasks."""

    name: Name
    synthetic: bool = Field(description="Rendered, not photographed: values say nothing about real images.")
    build: str | None = Field(description="Null where no data was read.")
    split: str | None = Field(description="Null where no data was read.")
    fingerprint: str | None = Field(description="sha256 over the split's ids and files; null where no data was read.")
    n_expected: Count | None = Field(description="Null where a source does not say.")
    n_evaluated: Count | None = Field(description="Null where a source does not say.")
    train_fingerprint: str | None
    n_train: Count | None

    @classmethod
    def without_images(cls, name: str, synthetic: bool, images: int | None = None) -> Self:
        """Return a data set of which no image was read here; ``images`` is the number that is evaluated, if known."""
        return cls(
            name=name,
            synthetic=synthetic,
            build=None,
            split=None,
            fingerprint=None,
            n_expected=images,
            n_evaluated=images,
            train_fingerprint=None,
            n_train=None,
        )


class Reported(Part):
    """Source of a reported record, and what it prints beside the accuracy.

    Sources count differently (MACs or FLOPs, one task or all of them, named or unnamed tools), so these values are
    kept as they are printed, apart from what the harness measures.
    """

    source: Name = Field(description="Document that prints the values.")
    locator: str = Field(description="Place in it.")
    tier: Literal["own", "quoted"] = Field(description="Whether the method's authors print them, or others.")
    note: str | None
    differs: str | None = Field(description="Why the values are known not to compare with those of other sources.")
    delta_m_percent: Real | None = Field(description="As printed, against the source's own reference.")
    gflops: Amount | None
    parameters_m: Amount | None
    latency_ms: Amount | None


class Gain(Part):
    """Multi-task gain (Maninis et al., CVPR 2019, equation 4) in percent; positive is better."""

    value: Real | None
    reference: Name | None = Field(description="run_id of the single-task record it is measured against.")
    reason: str | None = None
    effort: Literal["equal", "less", "unknown"] | None = Field(
        default=None,
        description="Training effort of the reference: `equal` if it saw at least as many images of every task, `less` "
        "if it saw fewer of some; null in older records.",
    )


class Phase(Part):
    """Wall-clock time of one phase of the run."""

    name: Name
    seconds: Amount
    resumed: bool = Field(default=False, description="Whether an interrupted run was continued in it.")


class StageInfo(Part):
    """One training stage. Older records know its name, steps and loss alone: their effort is unknown."""

    name: Name
    iterations: Count = Field(description="Steps of the optimiser.")
    final_loss: Real | None = Field(description="Weighted loss of the last step that was looked at.")
    tasks: list[Name] | None = Field(default=None, description="Tasks that were supervised.")
    batch_size: Positive | None = Field(default=None, description="Images per step.")
    macs: Count | None = Field(
        default=None,
        description="Multiply-accumulates of the whole stage, forward and backward, passes through frozen parts "
        "included; counted on a few steps spread over it. Null where an operator has no formula.",
    )
    reused: bool = Field(
        default=False,
        description="Whether the same stage had been trained for another run; it counts all the same.",
    )


class PerImageFile(Part):
    """The file with the statistics of every image, from which all metrics of the record follow to the last bit."""

    file: Name = Field(description="Its name, in the folder of the record.")
    sha256: Name
    images: Count = Field(description="Its rows.")


class _ReadSettings(BaseModel):
    """Settings of a command that tables and comparisons read; all others are only shown."""

    task: list[str] | None
    batch_size: Positive | list[Positive] | None
    iterations: Count | None


class Record(Part):
    """One run of one method on one data set with one seed. Values are unrounded.

    Records of schema version 1 know no costs but parameters and storage, those before version 3 no sparsity and no
    reported values; they are read as they are.
    """

    schema_version: Literal[1, 2, 3] = 3
    run_id: Name
    source: Literal["measured", "reported"]
    status: Literal["partial", "complete", "failed"]
    failure: str | None = None
    created_at: Moment
    updated_at: Moment
    harness: Software
    command: list[str]
    config: Free
    config_hash: str
    method: MethodInfo
    dataset: DatasetInfo
    protocol_name: Name
    protocol: dict[str, Scalar]
    budget: Literal["quick", "full"] | None = Field(description="Null for predictions made elsewhere and costs alone.")
    input_size: tuple[Positive, Positive] | None = Field(
        description="Height and width; null where a source does not say."
    )
    precision: str | None = Field(description="Null where only predictions are at hand.")
    device: str | None = Field(default=None, description="`cpu` or `cuda`; null where only predictions are at hand.")
    seed: Annotated[int, AfterValidator(_finite)] | None = Field(description="Null where only predictions are at hand.")
    training: list[StageInfo] = Field(default_factory=list)
    metrics: dict[Name, Annotated[dict[Name, Metric], Field(min_length=1)]] = Field(default_factory=dict)
    per_image: PerImageFile | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # older records stay as they were, byte for byte
        description="File of per-image values; absent where there is none.",
    )
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
    custom: Annotated[dict[str, JsonValue], AfterValidator(_finite)] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,  # records without such probes stay as they were, byte for byte
        description="Probe to its value, of probes that have no field of their own; absent where there are none.",
    )
    unmeasured: dict[str, str] = Field(
        default_factory=dict, description="Probe to why its value is null; it was not asked for where neither is here."
    )
    phases: list[Phase] = Field(default_factory=list)
    system_id: str = Field(description="Where the costs were measured, or where the run began if none were.")
    environment: Free
    warnings: list[str] = Field(default_factory=list)
    reported: Reported | None = Field(default=None, description="Of records whose source is `reported`, these alone.")

    @model_validator(mode="after")
    def _reported_has_its_source(self) -> Self:
        if (self.source == "reported") != (self.reported is not None):
            raise ValueError("a reported record names the document it is from, and no other record does")
        return self

    @model_validator(mode="after")
    def _config_is_readable(self) -> Self:
        _ReadSettings.model_validate({key: self.config.get(key) for key in _ReadSettings.model_fields})
        return self

    @property
    def costs_only(self) -> bool:
        """Whether nothing was scored: the costs of a method on random images, as ``harness bench`` measures them."""
        return self.source == "measured" and self.dataset.fingerprint is None


def conditions(record: Record) -> tuple[object, ...]:
    """Return what two records must share for their values to be compared.

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
    """Return the value of every task that the papers' tables print: the first one its meter gives."""
    return {task: next(iter(metrics.values())) for task, metrics in record.metrics.items()}
