"""Latency of a forward pass: interleaved calls of all subjects, so that a disturbance of the machine hits all."""

import contextlib
import gc
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from harness.compute import EAGER, ExecutionSettings, Precision
from harness.probes.conditions import GpuWatch, OtherWork, conditions, disturbances
from harness.probes.pairing import ratio_interval
from harness.probes.rules import LatencyRules
from harness.probes.timing import Clock, Stopwatch, Subject, Timing, stopwatch
from harness.records.costs import Latency, Sampling


def measure_latency(
    subjects: Sequence[Subject],
    device: torch.device,
    rules: LatencyRules | None = None,
    progress: Callable[[int], object] = lambda percent: None,
    *,
    now: Clock = time.perf_counter,
) -> list[Timing]:
    """Time subjects with interleaved calls.

    Each round gives every subject one block of calls. Rounds come in pairs, the second in reverse order (ABBA), so
    that a steady drift favours nobody. The first call of a longer block finds the caches full of another subject's
    data and is left out.

    Args:
        subjects: What to time; sampling goes on until the interval of each ratio to the first is narrow.
        device: Where they run.
        rules: When to stop; None for the device's defaults.
        progress: Takes the per cent of the least samples and seconds that are done. It may stay at 100 for a while,
            as long as ratios are uncertain.
        now: The clock of the CPU's samples and of all limits.

    Returns:
        One timing per subject, in order.
    """
    rules = rules or LatencyRules.for_device(device)
    watch = stopwatch(device, now)
    with _garbage_uncollected():
        # 1. Warm up, which also gives the length of a call and so the calls of a block.
        warmups = [_warm_up(subject, watch, rules) for subject in subjects]
        turns = [
            (subject.call, rules.block_calls(call_ms)) for subject, (_, call_ms) in zip(subjects, warmups, strict=True)
        ]
        # 2. Sample, with the state of the machine read before, during and after.
        gpu = GpuWatch(device)
        sampler = _Sampler(turns, watch, now, gpu.look)
        others, before = OtherWork(), conditions(device)
        sampler.run(rules, progress)
        after, other_cores = conditions(device), others.cores()
    session, names = uuid.uuid4().hex, [subject.name for subject in subjects]
    return [
        Timing(
            name=name,
            rounds=tuple(rounds),
            warmup=warmup,
            clock=watch.name,
            session=session,
            interleaved_with=tuple(names[:index] + names[index + 1 :]),
            threads=torch.get_num_threads() if device.type == "cpu" else None,
            before=before,
            after=after,
            other_cores=other_cores,
            cudnn_benchmark=device.type == "cuda" and torch.backends.cudnn.benchmark,
            watch=gpu,
        )
        for index, (name, rounds, (warmup, _)) in enumerate(zip(names, sampler.rounds, warmups, strict=True))
    ]


def to_latency(
    timing: Timing,
    batch_size: int,
    precision: Precision,
    execution: ExecutionSettings = EAGER,
) -> Latency:
    """Return a timing as records store it.

    Args:
        timing: The samples.
        batch_size: Images of one call.
        precision: Arithmetic of the forward pass.
        execution: Execution of the pass.
    """
    samples = timing.samples_ms
    return Latency.of(
        samples,
        batch_size=batch_size,
        precision=precision,
        compiled=execution.compile,
        cuda_graph=execution.cuda_graph,
        channels_last=execution.channels_last,
        runtime=execution.runtime,
        quantise=execution.quantise,
        cudnn_benchmark=timing.cudnn_benchmark,
        threads=timing.threads,
        sampling=Sampling(
            warmup=timing.warmup,
            clock=timing.clock,
            interleaved_with=list(timing.interleaved_with),
            session=timing.session,
            rounds=[len(block) for block in timing.rounds],
            other_cores=timing.other_cores,
        ),
        before=timing.before,
        during=timing.watch.worst if timing.watch else None,
        after=timing.after,
        disturbed=disturbances(
            timing.before, timing.after, samples, timing.other_cores, timing.threads, watch=timing.watch
        ),
    )


class _Sampler:
    """Takes rounds of blocks and adds up what they took."""

    def __init__(
        self,
        turns: Sequence[tuple[Callable[[], object], int]],
        watch: Stopwatch,
        now: Clock,
        at_work: Callable[[], object],
    ) -> None:
        self.turns, self.watch, self.now, self.at_work = turns, watch, now, at_work
        self.rounds: list[list[tuple[float, ...]]] = [[] for _ in turns]
        self.samples = [0] * len(turns)
        self.seconds = [0.0] * len(turns)

    def run(self, rules: LatencyRules, progress: Callable[[int], object]) -> None:
        """Take rounds until the rules are met; every pass of the loop is a pair of rounds, there and back (ABBA)."""
        next_check = 0.0
        while not rules.exhausted(self.samples, self.seconds):
            for order in (range(len(self.turns)), reversed(range(len(self.turns)))):
                for index in order:
                    call, calls = self.turns[index]
                    start = self.now()
                    # The first call of a longer block finds the caches full of another subject's data.
                    spare = 1 if calls > 1 else 0
                    block = self.watch.block(call, calls + spare, self.at_work)[spare:]
                    self.seconds[index] += self.now() - start
                    self.samples[index] += len(block)
                    self.rounds[index].append(tuple(block))
            done = min(
                _fraction(min(self.samples), rules.min_iterations), _fraction(min(self.seconds), rules.min_seconds)
            )
            progress(int(100 * done))
            rounds = len(self.rounds[0])
            # Checked ever more rarely: the check works, and its data would evict the subjects' from the caches.
            if rules.enough(self.samples, self.seconds) and rounds >= next_check:
                if self._margin() <= rules.ratio_margin:
                    return
                next_check = 1.1 * rounds

    def _margin(self) -> float:
        """Return half the width of the widest interval of a ratio to the first subject, relative to the ratio."""
        first, *others = self.rounds
        intervals = [ratio_interval(other, first) for other in others]
        return max(((high - low) / 2 / ratio for ratio, low, high in intervals), default=0.0)


def _fraction(done: float, wanted: float) -> float:
    """Return the fraction of what is wanted that is done, at most 1; nothing may be wanted."""
    return 1.0 if done >= wanted else done / wanted


def _warm_up(subject: Subject, watch: Stopwatch, rules: LatencyRules) -> tuple[int, float]:
    """Call a subject until it is warm; return the calls and the median of the last ones in ms."""
    times: list[float] = []
    while not rules.warm(times):
        times += watch.block(subject.call, 1)
    return len(times), float(np.median(times[-5:]))  # of calls that are warm


@contextlib.contextmanager
def _garbage_uncollected() -> Iterator[None]:
    """Keep the garbage collector from running inside samples."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
