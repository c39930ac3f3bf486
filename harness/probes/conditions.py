"""State of the machine around and during a measurement, and the reasons it gives not to trust samples."""

import time
from collections.abc import Sequence

import numpy as np
import psutil
import torch

from harness.errors import counted
from harness.probes.nvml import Gpu, NvmlUnavailableError, open_gpu
from harness.records.costs import Conditions

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""Time of a CPU that is not idle; ``steal`` is what other virtual machines took. Not every system has all."""

_SLACK_CORES = 0.25
"""Cores that others may use up: system daemons and the progress bar take some 0.1 of a core on a quiet machine."""

_CLOCK_DROP = 0.05
"""Relative loss of clock that counts: governors and boost move clocks by 1 to 3 % without any load from outside."""

_WIDE = 0.2
"""Distance of the quartiles over the median that counts: quiet machines stay below 0.05, shared ones pass 0.3."""

_WATCH_SECONDS = 0.2
"""Seconds between two readings during the rounds: NVML renews its clocks at about that rate, and a reading takes 1 ms
of the host while the GPU works on what is queued."""


def conditions(device: torch.device) -> Conditions:
    """Return the state of the machine, and of the GPU if ``device`` is one."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):  # not every virtual machine gives it
        frequency = None
    mhz = (frequency.current or None) if frequency else None
    state = Conditions(load_average=psutil.getloadavg()[0], cpu_mhz=mhz)
    try:
        gpu = open_gpu(device)
    except NvmlUnavailableError:
        return state
    return state.model_copy(update=_gpu_state(gpu))


class GpuWatch:
    """Readings of a GPU while it works; none on other devices or without NVML.

    Args:
        device: The device that works.
        gpu: Its driver's view where it is open already.

    Attributes:
        first: State at the first reading, before heat and power limits act.
        worst: Lowest clocks, highest temperature and all throttle reasons of all readings.
    """

    def __init__(self, device: torch.device, gpu: Gpu | None = None) -> None:
        self.first: Conditions | None = None
        self.worst: Conditions | None = None
        self._next = 0.0
        try:
            self._gpu: Gpu | None = gpu or open_gpu(device)
        except NvmlUnavailableError:
            self._gpu = None

    def look(self) -> None:
        """Read the GPU, unless the last reading is recent. Called when kernels are queued and none is waited for."""
        if self._gpu is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _WATCH_SECONDS
        seen = Conditions(load_average=None).model_copy(update=_gpu_state(self._gpu))
        self.first = self.first or seen
        self.worst = seen if self.worst is None else _worse(self.worst, seen)


class OtherWork:
    """Measures the processor time that others take, from when it is made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._start = self._read()

    def cores(self) -> float:
        """Return the cores that other processes have kept busy since the start, mean."""
        wall, busy, own = (end - start for end, start in zip(self._read(), self._start, strict=True))
        return max(0.0, (busy - own) / wall)

    def _read(self) -> tuple[float, float, float]:
        times, own = psutil.cpu_times(), self._process.cpu_times()
        busy = sum(getattr(times, name, 0.0) for name in _BUSY)
        return time.monotonic(), busy, own.user + own.system


def disturbances(
    before: Conditions,
    after: Conditions,
    samples_ms: Sequence[float],
    other_cores: float = 0.0,
    threads: int | None = None,
    cores: int | None = None,
    watch: GpuWatch | None = None,
) -> list[str]:
    """Return the reasons not to trust samples, each as a sentence; none on a quiet machine.

    Args:
        before: The machine before the first sample.
        after: The machine after the last.
        samples_ms: The samples.
        other_cores: Cores that other processes kept busy meanwhile, mean.
        threads: Threads of the CPU's kernels; None on a GPU, which needs one to be fed.
        cores: Cores of the machine; None to look.
        watch: Readings of the GPU during the samples; None where there are none.
    """
    cores = cores or psutil.cpu_count() or 1
    reasons = []
    # 1. The machine before and after. A falling load average is that of earlier work.
    first, last = before.load_average, after.load_average
    if first is not None and last is not None and last >= first and last > cores + _SLACK_CORES:
        reasons.append(f"the load average was {last:.1f} on {cores} cores")
    reasons += _clocks(before, after)
    # 2. Others at work meanwhile: what they and the timed threads need must fit the cores.
    if other_cores + (threads or 1) > cores + _SLACK_CORES:
        ours = f"{counted(threads, 'thread')} were" if threads and threads > 1 else "1 thread was"
        reasons.append(f"other processes kept {other_cores:.1f} of {cores} cores busy, and {ours} timed")
    # 3. The GPU, also while it worked: clocks rise again before `after` is read.
    seen = [before, after]
    if watch is not None and watch.first is not None and watch.worst is not None:
        seen.append(watch.worst)
        reasons += [reason for reason in _clocks(watch.first, watch.worst) if reason not in reasons]
    reasons += gpu_disturbances(seen)
    # 4. The samples themselves, whatever spread them.
    p25, p50, p75 = np.percentile(samples_ms, (25, 50, 75))
    if (spread := (p75 - p25) / p50) > _WIDE:
        reasons.append(f"the quartiles lie {100 * spread:.0f} % of the median apart")
    return reasons


def work_disturbances(other_cores: float) -> list[str]:
    """Return what the work of other processes says against the energy of a processor, which counts them all."""
    if other_cores <= _SLACK_CORES:
        return []
    return [f"other processes kept {other_cores:.1f} cores busy, whose energy is counted too"]


def gpu_disturbances(seen: Sequence[Conditions]) -> list[str]:
    """Return what readings of a GPU say against its time and energy: lowered clocks and other processes."""
    reasons = []
    if names := sorted({name for one in seen for name in one.gpu_throttle}):
        reasons.append(f"the GPU lowered its clocks: {', '.join(names)}")
    if others := max((one.gpu_other_processes or 0 for one in seen), default=0):
        reasons.append(f"{others} other processes held memory of the GPU")
    return reasons


def _gpu_state(gpu: Gpu) -> dict[str, object]:
    return {
        "gpu_sm_mhz": gpu.sm_mhz(),
        "gpu_memory_mhz": gpu.memory_mhz(),
        "gpu_celsius": gpu.celsius(),
        "gpu_throttle": gpu.throttle_reasons(),
        "gpu_other_processes": gpu.other_processes(),
    }


def _worse(one: Conditions, other: Conditions) -> Conditions:
    """Return the worse value of each field of two readings."""

    def pick(choose: object, name: str) -> int | None:
        known = [value for value in (getattr(one, name), getattr(other, name)) if value is not None]
        return choose(known) if known else None  # type: ignore[operator]

    return Conditions(
        load_average=None,
        gpu_sm_mhz=pick(min, "gpu_sm_mhz"),
        gpu_memory_mhz=pick(min, "gpu_memory_mhz"),
        gpu_celsius=pick(max, "gpu_celsius"),
        gpu_throttle=sorted({*one.gpu_throttle, *other.gpu_throttle}),
        gpu_other_processes=pick(max, "gpu_other_processes"),
    )


def _clocks(before: Conditions, after: Conditions) -> list[str]:
    """Return a sentence for every clock that fell."""
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
