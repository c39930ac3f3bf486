"""The driver's view of a GPU, through NVML, where the optional package ``nvidia-ml-py`` is installed."""

import importlib
import os
from types import ModuleType
from typing import Any

import torch

_THROTTLE = {
    "software power cap": "SwPowerCap",
    "hardware slowdown": "HwSlowdown",
    "sync boost": "SyncBoost",
    "software thermal slowdown": "SwThermalSlowdown",
    "hardware thermal slowdown": "HwThermalSlowdown",
    "hardware power brake": "HwPowerBrakeSlowdown",
}
"""Reasons that lower the clocks of a working GPU; idling and clocks that were set by hand are none."""


class NvmlUnavailableError(Exception):
    """NVML, or one of its values, cannot be had; the message says why."""


class Gpu:
    """One GPU as NVML sees it. A value that cannot be read is None.

    A binding may be older or newer than this code and lack a function or a constant: that makes one value None, and
    takes no measurement down.

    Args:
        nvml: The module ``pynvml``, initialised.
        handle: NVML's handle of the GPU.
    """

    def __init__(self, nvml: ModuleType, handle: object) -> None:
        self._nvml, self._handle = nvml, handle

    def sm_mhz(self) -> int | None:
        """Return the clock of the multiprocessors."""
        return self._integer("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM")

    def memory_mhz(self) -> int | None:
        """Return the clock of the memory."""
        return self._integer("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM")

    def celsius(self) -> int | None:
        """Return the temperature."""
        return self._integer("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU")

    def throttle_reasons(self) -> list[str]:
        """Return why the clocks are lowered; empty when they are not, or when it is unknown."""
        # Newer bindings call the same bits event reasons.
        reasons = self._read("nvmlDeviceGetCurrentClocksThrottleReasons")
        if reasons is None:
            reasons = self._read("nvmlDeviceGetCurrentClocksEventReasons")
        found = []
        for name, key in _THROTTLE.items():
            bit = getattr(self._nvml, f"nvmlClocksThrottleReason{key}", None)
            bit = getattr(self._nvml, f"nvmlClocksEventReason{key}", 0) if bit is None else bit
            if int(reasons or 0) & int(bit or 0):
                found.append(name)
        return found

    def other_processes(self) -> int | None:
        """Return how many other processes hold memory of the GPU.

        Inside a container NVML gives the host's process ids, and this process is not found under its own; but it is
        one of those listed, as it holds memory itself. An empty list then means that processes are hidden.
        """
        lists = [self._read(f"nvmlDeviceGet{kind}RunningProcesses") for kind in ("Compute", "Graphics")]
        if lists[0] is None:
            return None
        pids = {process.pid for processes in lists for process in processes or []}
        if not pids:
            return None
        return len(pids - {os.getpid()}) if os.getpid() in pids else len(pids) - 1

    def power_limit_watts(self) -> float | None:
        """Return the power limit in force."""
        milliwatts = self._read("nvmlDeviceGetEnforcedPowerLimit")
        return None if milliwatts is None else milliwatts / 1e3

    def persistence(self) -> bool | None:
        """Return whether the driver stays loaded while nobody uses the GPU."""
        mode = self._read("nvmlDeviceGetPersistenceMode")
        return None if mode is None else bool(mode)

    def driver(self) -> str | None:
        """Return the version of the driver."""
        try:
            return str(self._nvml.nvmlSystemGetDriverVersion())
        except (self._nvml.NVMLError, AttributeError):
            return None

    def joules(self) -> float:
        """Return the energy used since the driver was loaded.

        Raises:
            NvmlUnavailableError: the GPU has no such counter.
        """
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except (self._nvml.NVMLError, AttributeError) as error:
            raise NvmlUnavailableError(f"the GPU's energy counter cannot be read: {error}") from error

    def partitioned(self) -> bool:
        """Return whether the GPU is cut into MIG instances: energy and clocks are then of the whole board."""
        mode = self._read("nvmlDeviceGetMigMode")  # (current, pending); 1 is on
        return bool(mode[0]) if isinstance(mode, (list, tuple)) else bool(mode)

    def _integer(self, function: str, constant: str) -> int | None:
        which = getattr(self._nvml, constant, None)
        value = None if which is None else self._read(function, which)
        return None if value is None else int(value)

    def _read(self, function: str, *arguments: object) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None


def open_gpu(device: torch.device) -> Gpu:
    """Return the NVML side of a torch device.

    The two number GPUs differently (``CUDA_VISIBLE_DEVICES``), so it is found by its UUID.

    Raises:
        NvmlUnavailableError: the device is no whole GPU of NVML, or NVML is missing.
    """
    if device.type != "cuda":
        raise NvmlUnavailableError("the device is no NVIDIA GPU")
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlUnavailableError(
            "the package nvidia-ml-py is not installed (pip install 'mtl-harness[gpu]')"
        ) from error
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if uuid is None:
        raise NvmlUnavailableError("this version of torch does not give the GPU's UUID, by which NVML would find it")
    if str(uuid).startswith("MIG-"):
        raise NvmlUnavailableError("the device is a MIG instance, and NVML's values are of the whole board")
    try:
        nvml.nvmlInit()  # counted by NVML, and cheap after the first time
        gpu = Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except (nvml.NVMLError, AttributeError) as error:
        raise NvmlUnavailableError(f"NVML does not know the GPU, or it is a MIG instance: {error}") from error
    if gpu.partitioned():
        raise NvmlUnavailableError("the GPU is cut into MIG instances, and NVML's values are of the whole board")
    return gpu
