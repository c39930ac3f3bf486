"""The state of the machine around a measurement."""

import time

import psutil
import torch

from harness.probes.nvml import NvmlUnavailableError, open_gpu
from harness.records.costs import Conditions

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""Time of a CPU that is not idle; ``steal`` is what other virtual machines took. Not every system has all."""


def conditions(device: torch.device) -> Conditions:
    """Return the state of the machine, and of the GPU if ``device`` is one."""
    state = Conditions(load_average=psutil.getloadavg()[0], cpu_mhz=_cpu_mhz())
    try:
        gpu = open_gpu(device)
    except NvmlUnavailableError:
        return state
    return Conditions(
        load_average=state.load_average,
        cpu_mhz=state.cpu_mhz,
        gpu_sm_mhz=gpu.sm_mhz(),
        gpu_memory_mhz=gpu.memory_mhz(),
        gpu_celsius=gpu.celsius(),
        gpu_throttle=gpu.throttle_reasons(),
        gpu_other_processes=gpu.other_processes(),
    )


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


def _cpu_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):  # not every virtual machine tells
        return None
    return (frequency.current or None) if frequency else None
