"""Energy of a device over a window of forward passes: by NVIDIA's driver, and by zeus where that has no counter."""

import functools
import time
from collections.abc import Callable

import torch

from harness.compute import cudnn_benchmark
from harness.method import MultiTaskModel
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.probes.conditions import GpuWatch, OtherWork, gpu_disturbances, work_disturbances
from harness.probes.nvml import NvmlUnavailableError, open_gpu
from harness.probes.prepare import prepare_call, release_compiled
from harness.probes.timing import Clock
from harness.probes.zeus import EnergyWindow, NoCounterError
from harness.records.costs import Energy

SOURCE = "nvmlDeviceGetTotalEnergyConsumption"
_QUEUED = 10
"""Calls between two looks at the clock: few, as the window ends only when all that is queued is done."""


def fill_energy(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> tuple[()]:
    """Measure the pass that is timed; what is missing has its reason in the value."""
    size = setting.batch_sizes[0]

    @functools.cache
    def prepared() -> Callable[[], object]:  # at its first call, so that nothing is compiled where there is no value
        return prepare_call(model, inputs.batch(size), setting.compute, setting.execution)

    with cudnn_benchmark(setting.compute.device):  # as the latency is timed
        candidate.record.energy = measure_energy(lambda: prepared()(), size, setting.compute.device)
    if setting.execution.compile is not None:
        release_compiled()  # its memory pools would be in the peak of the next method
    return ()


def measure_energy(
    call: Callable[[], object],
    batch_size: int,
    device: torch.device,
    min_seconds: float = 5.0,
    *,
    now: Clock = time.monotonic,
) -> Energy:
    """Measure the energy of the whole device, idle power included, while it does nothing but forward passes.

    The driver renews its counter every 20 to 100 ms, so that a window of seconds is known to a few per cent.

    Args:
        call: One forward pass.
        batch_size: Images of it.
        device: Where it runs.
        min_seconds: Least length of the window.
        now: The clock of the window.

    Returns:
        Joules per image, or null with the reason.
    """
    try:
        gpu = open_gpu(device)
        _run(call, device)  # clocks and power rise outside of the window
        watch = GpuWatch(device, gpu)
        start, joules, calls = now(), gpu.joules(), 0
        while now() - start < min_seconds:
            _run(call, device, watch.look)
            calls += _QUEUED
        used, seconds = gpu.joules() - joules, now() - start
    except NvmlUnavailableError as error:
        try:
            return _measure_by_zeus(call, batch_size, device, min_seconds, now)
        except NoCounterError as other:
            return Energy(joules_per_image=None, reason=f"{error}; {other}")
    images = calls * batch_size
    # The counter is of the whole board: what others do there, and lowered clocks, are in it.
    disturbed = gpu_disturbances([watch.worst]) if watch.worst else []
    window = {
        "window_s": seconds,
        "images": images,
        "batch_size": batch_size,
        "source": SOURCE,
        "disturbed": disturbed,
    }
    if used <= 0:
        reason = f"the GPU's energy counter did not advance in {seconds:.1f} s"
        return Energy.model_validate({"joules_per_image": None, "reason": reason, **window})
    return Energy.model_validate({"joules_per_image": used / images, **window})


def _measure_by_zeus(
    call: Callable[[], object], batch_size: int, device: torch.device, min_seconds: float, now: Clock
) -> Energy:
    """Measure the energy that zeus counts.

    Raises:
        NoCounterError: it counts none.
    """
    EnergyWindow(device).end()  # where there is no counter, nothing is run for it
    _run(call, device)
    others, window = OtherWork(), EnergyWindow(device)
    start, calls = now(), 0
    while now() - start < min_seconds:
        _run(call, device)
        calls += _QUEUED
    used, seconds, images = window.end(), now() - start, calls * batch_size
    facts = {"window_s": seconds, "images": images, "batch_size": batch_size, "source": used.source}
    if used.joules <= 0:
        reason = f"the counter did not advance in {seconds:.1f} s"
        return Energy.model_validate({"joules_per_image": None, "reason": reason, **facts})
    # Counters of a processor are of all that runs on it.
    disturbed = work_disturbances(others.cores())
    return Energy.model_validate({"joules_per_image": used.joules / images, "disturbed": disturbed, **facts})


def _run(call: Callable[[], object], device: torch.device, at_work: Callable[[], object] = lambda: None) -> None:
    for _ in range(_QUEUED):
        call()
    at_work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
