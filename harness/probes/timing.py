"""What is timed, how a block of calls is timed, and what comes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

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
        session: Id shared by all subjects that were timed in turn.
        interleaved_with: The other subjects of the session.
        threads: Threads of the CPU's kernels; None on a GPU.
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

    @property
    def samples_ms(self) -> list[float]:
        """All samples, in order."""
        return [sample for block in self.rounds for sample in block]


class Stopwatch(Protocol):
    """Times single calls, in blocks."""

    name: str

    def block(self, call: Callable[[], object], calls: int) -> list[float]:
        """Run ``call`` so many times and return the milliseconds of each; all work is done on return."""


class WallStopwatch:
    """Times what has finished when the call returns, as everything on a CPU has.

    Args:
        now: The clock.
    """

    name = "perf_counter"

    def __init__(self, now: Clock = time.perf_counter) -> None:
        self.now = now

    def block(self, call: Callable[[], object], calls: int) -> list[float]:
        """Run ``call`` so many times and return the milliseconds of each."""
        now, samples = self.now, []
        for _ in range(calls):
            start = now()
            call()
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

    def block(self, call: Callable[[], object], calls: int) -> list[float]:
        """Queue ``call`` so many times, wait for all, and return the milliseconds of each."""
        while len(self._events) < calls:
            self._events.append((_event(), _event()))
        events = self._events[:calls]
        with torch.cuda.device(self.device):
            for start, end in events:
                start.record()
                call()
                end.record()
            torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def stopwatch(device: torch.device, now: Clock = time.perf_counter) -> Stopwatch:
    """Return the stopwatch for a device; ``now`` is the clock of those that read one."""
    return CudaStopwatch(device) if device.type == "cuda" else WallStopwatch(now)
