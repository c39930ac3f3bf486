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
    """NVML, or a figure of it, cannot be had; the message says why."""


class Gpu:
    """One GPU as NVML sees it. What cannot be read is None.

    Args:
        nvml: The module ``pynvml``, initialised.
        handle: NVML's handle of the GPU.
    """

    def __init__(self, nvml: ModuleType, handle: object) -> None:
        self._nvml, self._handle = nvml, handle

    def sm_mhz(self) -> int | None:
        """Return the clock of the multiprocessors."""
        return self._integer("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)

    def memory_mhz(self) -> int | None:
        """Return the clock of the memory."""
        return self._integer("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM)

    def celsius(self) -> int | None:
        """Return the temperature."""
        return self._integer("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)

    def throttle_reasons(self) -> list[str]:
        """Return why the clocks are lowered; empty when they are not, or when it is unknown."""
        reasons = self._read("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        bits = {name: getattr(self._nvml, f"nvmlClocksThrottleReason{key}") for name, key in _THROTTLE.items()}
        return [name for name, bit in bits.items() if reasons & bit]

    def other_processes(self) -> int | None:
        """Return how many other processes hold memory of the GPU.

        Inside a container NVML tells the host's process ids, and this process is not found under its own; but it is
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
        except self._nvml.NVMLError:
            return None

    def joules(self) -> float:
        """Return the energy used since the driver was loaded.

        Raises:
            NvmlUnavailableError: the GPU has no such counter.
        """
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._nvml.NVMLError as error:
            raise NvmlUnavailableError(f"the GPU's energy counter cannot be read: {error}") from error

    def _integer(self, function: str, *arguments: object) -> int | None:
        value = self._read(function, *arguments)
        return None if value is None else int(value)

    def _read(self, function: str, *arguments: object) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def open_gpu(device: torch.device) -> Gpu:
    """Return the NVML side of a torch device.

    The two number GPUs differently (``CUDA_VISIBLE_DEVICES``), so it is found by its UUID.

    Raises:
        NvmlUnavailableError: the device is no GPU of NVML, or NVML is missing.
    """
    if device.type != "cuda":
        raise NvmlUnavailableError("the device is no NVIDIA GPU")
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlUnavailableError(
            "the package nvidia-ml-py is not installed (pip install 'mtl-harness[gpu]')"
        ) from error
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        nvml.nvmlInit()  # counted by NVML, and cheap after the first time
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except nvml.NVMLError as error:
        raise NvmlUnavailableError(f"NVML does not know the GPU: {error}") from error
