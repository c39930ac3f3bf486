"""Why samples may not be trusted."""

from collections.abc import Sequence

import numpy as np
import psutil

from harness.records.costs import Conditions

_SLACK_CORES = 0.25
_CLOCK_DROP = 0.05
_WIDE = 0.2


def disturbances(
    before: Conditions,
    after: Conditions,
    samples_ms: Sequence[float],
    other_cores: float = 0.0,
    threads: int | None = None,
    cores: int | None = None,
) -> list[str]:
    """Return the reasons not to trust samples, each as a sentence; none on a quiet machine.

    Args:
        before: The machine before the first sample.
        after: The machine after the last.
        samples_ms: The samples.
        other_cores: Cores that other processes kept busy meanwhile, mean.
        threads: Threads of the CPU's kernels; None on a GPU, which needs one to be fed.
        cores: Cores of the machine; None to look.
    """
    cores = cores or psutil.cpu_count() or 1
    reasons = _load(before, after, cores) + _clocks(before, after)
    if other_cores + (threads or 1) > cores + _SLACK_CORES:
        reasons.append(
            f"other processes kept {other_cores:.1f} of {cores} cores busy, and {threads or 1} threads were timed"
        )
    if names := sorted({*before.gpu_throttle, *after.gpu_throttle}):
        reasons.append(f"the GPU lowered its clocks: {', '.join(names)}")
    if others := max(before.gpu_other_processes or 0, after.gpu_other_processes or 0):
        reasons.append(f"{others} other processes held memory of the GPU")
    p25, p50, p75 = np.percentile(samples_ms, (25, 50, 75))
    if (spread := (p75 - p25) / p50) > _WIDE:
        reasons.append(f"the quartiles lie {100 * spread:.0f} % of the median apart")
    return reasons


def _load(before: Conditions, after: Conditions, cores: int) -> list[str]:
    """Return a reason for a load above the cores that did not fall: a falling one tells of what ran before."""
    first, last = before.load_average, after.load_average
    if first is None or last is None or last < first or last <= cores + _SLACK_CORES:
        return []
    return [f"the load average was {last:.1f} on {cores} cores"]


def _clocks(before: Conditions, after: Conditions) -> list[str]:
    clocks = {
        "CPU": (before.cpu_mhz, after.cpu_mhz),
        "GPU": (before.gpu_sm_mhz, after.gpu_sm_mhz),
        "GPU memory": (before.gpu_memory_mhz, after.gpu_memory_mhz),
    }
    return [
        f"the clock of the {name} fell from {first:.0f} to {last:.0f} MHz"
        for name, (first, last) in clocks.items()
        if first and last and last < (1 - _CLOCK_DROP) * first
    ]
