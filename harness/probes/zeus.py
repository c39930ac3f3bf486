"""Energy counters beyond NVIDIA's driver, through the optional package ``zeus``: RAPL, AMD, Apple silicon, Jetson."""

import importlib
import logging
from typing import Any, NamedTuple

import torch

_WINDOW = "harness"


class NoCounterError(Exception):
    """No counter can be read; the message says why."""


class Used(NamedTuple):
    """Energy of a window.

    Attributes:
        joules: Sum of the counters.
        source: Their names.
    """

    joules: float
    source: str


class EnergyWindow:
    """A window of time whose energy is counted, from when it is made.

    Args:
        device: Device that works. Of a GPU its own counter is read; those of a CPU are of all its packages and their
            memory, and so not of this process alone.

    Raises:
        NoCounterError: zeus is not installed, or finds no counter of the device that it may read.
    """

    def __init__(self, device: torch.device) -> None:
        try:
            monitor = importlib.import_module("zeus.monitor")
        except ImportError as error:
            raise NoCounterError("the package zeus is not installed (pip install 'mtl-harness[energy]')") from error
        logging.getLogger("zeus").setLevel(logging.ERROR)
        self._device = device
        gpus = [device.index or 0] if device.type == "cuda" else []
        try:
            self._monitor: Any = monitor.ZeusMonitor(gpu_indices=gpus, cpu_indices=[] if gpus else None)
            self._monitor.begin_window(_WINDOW)
        except Exception as error:  # drivers and permissions fail in many ways
            raise NoCounterError(f"zeus cannot read a counter of {device} ({_first_line(error)})") from error

    def end(self) -> Used:
        """Return the energy since the window began.

        Raises:
            NoCounterError: no counter of the device is among those that could be read.
        """
        try:
            found = self._monitor.end_window(_WINDOW)
        except Exception as error:
            raise NoCounterError(f"zeus lost the counter of {self._device} ({_first_line(error)})") from error
        if self._device.type == "cuda" and found.gpu_energy:
            return Used(float(sum(found.gpu_energy.values())), "zeus: GPU")
        if found.soc_energy is not None:
            return self._of_chip(found.soc_energy)
        if self._device.type == "cpu" and found.cpu_energy:
            memory = found.dram_energy or {}
            name = "zeus: RAPL, packages and memory" if memory else "zeus: RAPL, packages"
            return Used(float(sum(found.cpu_energy.values()) + sum(memory.values())), name)
        raise NoCounterError(f"zeus finds no energy counter of {self._device} that this user may read")

    def _of_chip(self, soc: Any) -> Used:
        """Return the energy of a system on a chip: the whole board of a Jetson, or the parts of an Apple chip."""
        if (board := getattr(soc, "total_energy_mj", None)) is not None:
            return Used(float(board) / 1e3, "zeus: Jetson, board")
        names = ("gpu_mj", "gpu_sram_mj", "dram_mj") if self._device.type == "mps" else ("cpu_total_mj", "dram_mj")
        parts = {name: value for name in names if (value := getattr(soc, name, None)) is not None}
        if names[0] not in parts:
            raise NoCounterError(f"zeus finds no energy counter of {self._device} on this chip")
        words = " and ".join(name.removesuffix("_mj").removesuffix("_total") for name in parts)
        return Used(float(sum(parts.values())) / 1e3, f"zeus: Apple, {words}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
