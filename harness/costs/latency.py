"""Time and energy of a forward pass."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field

from harness.costs.base import Cost
from harness.costs.hardware import Conditions


class Sampling(Cost):
    """How samples were taken."""

    warmup: int = Field(description="Forward passes before the first sample.")
    clock: str = Field(description="`cuda-events` or `perf_counter`.")
    interleaved_with: list[str] = Field(default=[], description="Methods that were timed in turn with this one.")
    session: str = Field(description="Id of the measurement; samples of one session are paired round by round.")
    rounds: list[int] = Field(description="Samples per round, in order.")
    other_cores: float = Field(description="Cores that other processes kept busy meanwhile, mean.")


class PairedRatio(Cost):
    """Latency relative to another method of the same session, from rounds measured next to each other."""

    reference: str = Field(description="run_id of the record it is relative to.")
    ratio: float = Field(description="Median over the rounds of this latency divided by the reference's.")
    low: float = Field(description="Lower end of the 95 % bootstrap interval of the median.")
    high: float = Field(description="Upper end of it.")
    rounds: int


class Floor(Cost):
    """The least time this machine needs for the executed MACs and for reading the weights once."""

    compute_ms: float = Field(description="Executed MACs over the machine's matrix rate.")
    transfer_ms: float = Field(description="Bytes of weights, images and predictions over the copy bandwidth.")
    floor_ms: float = Field(description="The larger of the two.")
    multiple: float = Field(description="Median latency as a multiple of the floor.")
    compute_share: float = Field(description="Executed MACs per second as a share of the machine's matrix rate.")


class EndToEnd(Cost):
    """Throughput from stored images to predictions in host memory, loading included."""

    images_per_second: float | None
    images: int = 0
    reason: str | None = None


class Latency(Cost):
    """Time of one forward pass that predicts all tasks, images already on the device."""

    batch_size: int
    precision: str
    compiled: str | None = Field(default=None, description="Mode of torch.compile; null for eager execution.")
    cuda_graph: bool = False
    channels_last: bool = False
    threads: int | None = Field(default=None, description="Threads of the CPU's kernels; null on a GPU.")
    samples_ms: list[float]
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    iqr_ms: float = Field(description="Distance of the quartiles.")
    images_per_second: float = Field(description="Batch size over the median.")
    sampling: Sampling
    paired: PairedRatio | None = None
    floor: Floor | None = None
    end_to_end: EndToEnd | None = None
    before: Conditions
    after: Conditions
    disturbed: list[str] = Field(default=[], description="Why the samples are not to be trusted; empty when quiet.")

    @classmethod
    def of(cls, samples_ms: Sequence[float], *, batch_size: int, **facts: object) -> Self:
        """Return the latency of at least one sample."""
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

    joules_per_image: float | None
    window_s: float | None = None
    images: int | None = None
    batch_size: int | None = None
    source: str | None = Field(default=None, description="The counter that was read.")
    reason: str | None = Field(default=None, description="Why it is null.")
