"""Subjects of a timing, stopwatches by device, and the samples they give."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from harness.probes.conditions import GpuWatch
from harness.records.costs import Conditions

Clock = Callable[[], float]
"""Seconds since some moment, never going back."""


@dataclass(frozen=True)
class Subject:
    """Something to time.

    Attributes:
        name: What it is called in records.
        call: One forward pass; its inputs are fixed and on the device.
    """

    name: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Samples of one subject.

    Attributes:
        name: The subject.
        rounds: Milliseconds of each sampled call, by round.
        warmup: Calls before the first round.
        clock: What the samples were read from.
        session: Id shared by all subjects whose calls were interleaved.
        interleaved_with: The other subjects of the session.
        threads: Threads of the CPU's kernels; None on a GPU.
        cudnn_benchmark: Whether cuDNN chose its kernels by timing them.
        watch: Readings of the GPU during the rounds.
        before: The machine after the warm-up, before the first round.
        after: The machine after the last round.
        other_cores: Cores that other processes kept busy meanwhile, mean.
    """

    name: str
    rounds: tuple[tuple[float, ...], ...]
    warmup: int
    clock: str
    session: str
    interleaved_with: tuple[str, ...]
    threads: int | None
    before: Conditions
    after: Conditions
    other_cores: float
    cudnn_benchmark: bool = False
    watch: GpuWatch | None = None

    @property
    def samples_ms(self) -> list[float]:
        """All samples, in order."""
        return [sample for block in self.rounds for sample in block]


def _nothing() -> None:
    pass


class Stopwatch(Protocol):
    """Times single calls, in blocks."""

    name: str

    def block(self, call: Callable[[], object], calls: int, at_work: Callable[[], object] = _nothing) -> list[float]:
        """Run ``call`` so many times and return the milliseconds of each; all work is done on return.

        Args:
            call: One forward pass.
            calls: Times to run it.
            at_work: Called while the device still works, where it works on its own.
        """


class WallStopwatch:
    """Times calls by a clock of the host.

    Args:
        now: The clock.
        wait: Waits for the device before each reading of the clock; nothing on a CPU, which has finished when a call
            returns.
    """

    name = "perf_counter"

    def __init__(self, now: Clock = time.perf_counter, wait: Callable[[], object] = _nothing) -> None:
        self.now, self.wait = now, wait

    def block(self, call: Callable[[], object], calls: int, at_work: Callable[[], object] = _nothing) -> list[float]:
        """Run ``call`` so many times and return the milliseconds of each."""
        now, wait, samples = self.now, self.wait, []
        for _ in range(calls):
            wait()
            start = now()
            call()
            wait()
            samples.append(1e3 * (now() - start))
        return samples


class CudaStopwatch:
    """Times a GPU by events around each call, queued, with one synchronisation at the end of the block.

    Synchronising after every call would add the idle time of the queue to small models.

    Args:
        device: The GPU.
    """

    name = "cuda-events"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def block(self, call: Callable[[], object], calls: int, at_work: Callable[[], object] = _nothing) -> list[float]:
        """Queue ``call`` so many times, wait for all, and return the milliseconds of each."""
        while len(self._events) < calls:
            self._events.append((_event(), _event()))
        events = self._events[:calls]
        with torch.cuda.device(self.device):
            for start, end in events:
                start.record()
                call()
                end.record()
            at_work()  # every event is queued, so that time of the host here is in no sample
            torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def stopwatch(device: torch.device, now: Clock = time.perf_counter) -> Stopwatch:
    """Return the stopwatch for a device; ``now`` is the clock of those that read one.

    Raises:
        ValueError: a device of another kind returns from calls before they are done, and its clock is not known.
    """
    if device.type == "cuda":
        return CudaStopwatch(device)
    if device.type == "mps":
        return WallStopwatch(now, wait=torch.mps.synchronize)
    if device.type == "cpu":
        return WallStopwatch(now)
    raise ValueError(f"no stopwatch for the device {device}")
