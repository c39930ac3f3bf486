"""Costs of a method as the records store them: one value object per probe, units in the names.

A value that could not be had is null and its reason stands beside it; it is never a zero in its place.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field

from harness.compute import ExecutionSettings
from harness.records.metric import Amount, Count, Name, Part, Positive, Ratio


def _is_false(value: object) -> bool:
    return value is False


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: object) -> bool:
    return not value


class Cost(Part):
    """Base of the cost objects."""


class Spread(Cost):
    """A quantity over the images it was measured on."""

    mean: Amount
    p50: Amount
    p95: Amount
    n: Positive = Field(description="Images.")

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        import numpy as np  # reading records needs it not

        p50, p95 = np.percentile(values, (50, 95))
        return cls(mean=float(np.mean(values)), p50=float(p50), p95=float(p95), n=len(values))


class Ceilings(Cost):
    """Peak rate of a matrix product and bandwidth of a copy, as the machine reached them in the same process."""

    device: str
    precision: str
    threads: Count | None = Field(default=None, description="Threads of the CPU's kernels; null on a GPU.")
    macs_per_second: Amount = Field(description="Of the best square matrix product.")
    matrix_side: Count = Field(description="Its side.")
    copy_bytes_per_second: Amount = Field(description="Bytes read plus bytes written of the best large copy.")


class Conditions(Cost):
    """State of the machine at one moment; null where it cannot be read."""

    load_average: Amount | None = Field(description="Processes running or waiting, over the last minute.")
    cpu_mhz: Amount | None = None
    gpu_sm_mhz: Count | None = None
    gpu_memory_mhz: Count | None = None
    gpu_celsius: int | None = None
    gpu_throttle: list[str] = Field(default=[], description="Reasons the driver gives for lowered clocks.")
    gpu_other_processes: Count | None = Field(default=None, description="Other processes that hold memory of the GPU.")


class CounterFigure(Cost):
    """Count of one library on the same forward pass of all tasks, batch size 1."""

    counter: Literal["fvcore", "ptflops", "torch"]
    version: str
    convention: str = Field(description="What the counter counts, and the corrections that were applied to it.")
    macs: Count | None = Field(description="Null when the counter failed.")
    unseen: dict[Name, Count] = Field(default={}, description="Operators it has no rule for, with their calls.")
    reason: str | None = Field(default=None, description="Why `macs` is null.")


class Macs(Cost):
    """MACs of matrix products, convolutions and attention per image, at batch size 1, counted where they happen.

    Attention is its two matrix products. Everything element-wise (norms, activations, softmax, interpolation,
    additions) is kept apart in `elementwise_outputs`.
    """

    dense: Spread = Field(description="With nothing skipped.")
    ideal: Spread | None = Field(default=None, description="Non-zero multiplies alone; null where nothing is sparse.")
    executed: Spread = Field(description="What the kernels really multiplied.")
    simulated: Spread | None = Field(
        default=None,
        description="By the sharing paper's output thresholds; not executable, since outputs are clamped after they "
        "are paid for. Null for other methods.",
    )
    per_part: dict[Name, Amount] = Field(description="Executed MACs by part of the model, mean; `other` is the rest.")
    per_task: dict[Name, Amount] = Field(description="Executed MACs when this task alone is asked for, mean.")
    unseen: dict[Name, Count] = Field(
        default={},
        description="Operators that may multiply and have no rule, with their calls.",
    )
    elementwise_outputs: Amount = Field(description="Values written by all other arithmetic, mean.")
    counters: list[CounterFigure] = Field(default=[], description="Independent counts of the same forward pass.")


class Sampling(Cost):
    """Sampling of a latency."""

    warmup: Count = Field(description="Forward passes before the first sample.")
    clock: str = Field(description="`cuda-events` or `perf_counter`.")
    interleaved_with: list[str] = Field(default=[], description="Methods that were timed interleaved with this one.")
    session: str = Field(description="Id of the measurement; samples of one session are paired round by round.")
    rounds: list[Count] = Field(description="Samples per round, in order.")
    other_cores: Amount = Field(description="Cores that other processes kept busy meanwhile, mean.")


class PairedRatio(Cost):
    """Latency relative to another method of the same session, from rounds measured next to each other."""

    reference: str = Field(description="run_id of the record it is relative to.")
    ratio: Ratio = Field(description="Median over the rounds of this latency divided by the reference's.")
    low: Ratio = Field(description="Lower end of its 95 % interval; neighbouring rounds are taken as correlated.")
    high: Ratio = Field(description="Upper end of it.")
    rounds: Count


class Floor(Cost):
    """The least time this machine needs for the executed MACs and for reading the weights once."""

    compute_ms: Amount = Field(description="Executed MACs over the machine's matrix rate.")
    transfer_ms: Amount = Field(description="Bytes of weights, images and predictions over the copy bandwidth.")
    floor_ms: Amount = Field(description="The larger of the two.")
    multiple: Amount = Field(description="Median latency as a multiple of the floor.")
    compute_share: Amount = Field(description="Executed MACs per second as a fraction of the machine's matrix rate.")


class EndToEnd(Cost):
    """Throughput from stored images to predictions in host memory, loading included."""

    images_per_second: Amount | None
    images: Count = 0
    reason: str | None = None


class Latency(Cost):
    """Time of one forward pass that predicts all tasks, images already on the device."""

    batch_size: Positive
    precision: str
    compiled: str | None = Field(default=None, description="Mode of torch.compile; null for eager execution.")
    cuda_graph: bool = False
    channels_last: bool = False
    runtime: Name = Field(
        default="eager",
        exclude_if=lambda value: value == "eager",
        description="What ran the model, where not PyTorch itself; absent there, and in older records.",
    )
    quantise: Name | None = Field(
        default=None,
        exclude_if=_is_none,
        description="`dynamic` or `static` where weights have 8 bits; absent where not.",
    )
    runtime_bytes: Count | None = Field(
        default=None, exclude_if=_is_none, description="Bytes of the file that the runtime reads; absent for PyTorch."
    )
    cudnn_benchmark: bool = Field(
        default=False,
        exclude_if=_is_false,
        description="Whether cuDNN chose its kernels by timing them; absent where not.",
    )
    threads: Count | None = Field(default=None, description="Threads of the CPU's kernels; null on a GPU.")
    samples_ms: list[Amount]
    p50_ms: Amount
    p90_ms: Amount
    p95_ms: Amount
    p99_ms: Amount
    iqr_ms: Amount = Field(description="Distance of the quartiles.")
    images_per_second: Amount = Field(description="Batch size over the median.")
    sampling: Sampling
    paired: PairedRatio | None = None
    floor: Floor | None = None
    end_to_end: EndToEnd | None = None
    before: Conditions
    during: Conditions | None = Field(
        default=None,
        exclude_if=_is_none,
        description="Lowest clocks, highest temperature and all throttle reasons during the rounds; absent where there "
        "is no NVIDIA GPU.",
    )
    after: Conditions
    disturbed: list[str] = Field(default=[], description="Why the samples are not to be trusted; empty when quiet.")

    @property
    def execution(self) -> ExecutionSettings:
        """The execution settings of the pass."""
        return ExecutionSettings(self.compiled, self.cuda_graph, self.channels_last, self.runtime, self.quantise)

    @property
    def served(self) -> str | None:
        """The runtime in words; None for PyTorch itself, whose modes have words of their own."""
        if self.runtime == "eager":
            return None
        return f"run by {self.runtime}" + (f" in int8, {self.quantise}" if self.quantise else "")

    @classmethod
    def of(cls, samples_ms: Sequence[float], *, batch_size: int, **facts: object) -> Self:
        """Return the latency of at least one sample."""
        import numpy as np

        p25, p50, p75, p90, p95, p99 = map(float, np.percentile(samples_ms, (25, 50, 75, 90, 95, 99)))
        statistics = {"p50_ms": p50, "p90_ms": p90, "p95_ms": p95, "p99_ms": p99, "iqr_ms": p75 - p25}
        throughput = 1000 * batch_size / p50
        return cls.model_validate(
            {
                "samples_ms": list(samples_ms),
                "batch_size": batch_size,
                "images_per_second": throughput,
                **statistics,
                **facts,
            }
        )


class Energy(Cost):
    """Energy of the device over a window of forward passes."""

    joules_per_image: Amount | None
    window_s: Amount | None = None
    images: Count | None = None
    batch_size: Positive | None = None
    source: str | None = Field(default=None, description="The counter that was read.")
    reason: str | None = Field(default=None, description="Why it is null.")
    disturbed: list[str] = Field(
        default=[],
        exclude_if=_is_empty,
        description="Why the energy is not this model's alone; absent when quiet.",
    )


class Peak(Cost):
    """Highest GPU memory of a window, as torch's allocator tells it."""

    allocated_bytes: Count
    reserved_bytes: Count


class Resident(Cost):
    """Resident set of the process while the CPU works."""

    before_bytes: Count
    peak_bytes: Count


class Memory(Cost):
    """Memory of a model at work, at one batch size."""

    parameter_bytes: Count
    buffer_bytes: Count
    batch_size: Positive
    inference: Peak | None = None
    training_step: Peak | None = Field(default=None, description="Forward, backward and an AdamW step.")
    resident: Resident | None = None
    reasons: dict[Name, str] = Field(default={}, description="Field to why it is null.")


class Parameters(Cost):
    """Parameter counts of the whole model."""

    total: Count
    per_part: dict[Name, Count]
    trainable: Count | None = Field(
        default=None,
        exclude_if=_is_none,
        description="Those that the method's full recipe trains; null in older records, or for `reason`.",
    )
    reason: str | None = Field(default=None, exclude_if=_is_none, description="Why `trainable` is null.")


class Storage(Cost):
    """Bytes of the saved artifact."""

    artifact_bytes: Count
    per_file: dict[Name, Count]
    per_part: dict[Name, Count] = Field(
        default={}, description="Bytes by part of the model; `other` is what belongs to none. Sums to the artifact."
    )
    marginal_bytes: dict[Name, Count] = Field(
        default={}, description="Task to the bytes it adds to an artifact that serves all the others."
    )
    zipped_bytes: Count | None = Field(
        default=None, description="Bytes of the artifact as one deflated archive; padding and zeros vanish in it."
    )


class Sparsity(Cost):
    """Part that a task has for itself where methods share weights and computation; 1 is a whole encoder."""

    weight_density: float = Field(ge=0, le=1, description="Weights kept for it, as a fraction of the encoder's.")
    active_rows: float = Field(
        ge=0, le=1, description="Fraction of tokens computed for it, mean over blocks and images."
    )
