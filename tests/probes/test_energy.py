"""Energy: joules from the driver's counter, and null with the reason wherever there is none; never 0."""

import sys
from types import SimpleNamespace

import pytest
import torch

from harness.probes.energy import measure_energy
from harness.probes.nvml import NvmlUnavailableError, open_gpu

GPU = torch.device("cuda", 0)


class NVMLError(Exception):
    """As pynvml has it."""


class Driver:
    """Stands in for the module ``pynvml``: the energy counter follows the calls of the model."""

    NVMLError = NVMLError

    def __init__(self, joules_per_call: float, counter: bool = True) -> None:
        self.joules_per_call, self.counter, self.calls = joules_per_call, counter, 0
        self.asked: list[str] = []

    def nvmlInit(self) -> None:
        self.asked.append("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.counter:
            raise NVMLError("Not Supported")
        return int(1000 * (50 + self.joules_per_call * self.calls))

    def call(self) -> None:
        self.calls += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a driver in the place of the library, and a GPU in the machine."""

    def place(driver: Driver | None) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", driver)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)

    return place


def seconds_per_look(step: float):
    ticks = iter(step * number for number in range(10**6))
    return lambda: next(ticks)


def test_joules_per_image_are_those_of_the_window(machine) -> None:
    driver = Driver(joules_per_call=3.0)
    machine(driver)
    found = measure_energy(driver.call, batch_size=2, device=GPU, min_seconds=5, now=seconds_per_look(0.5))
    assert found.joules_per_image == pytest.approx(1.5)
    assert found.images is not None
    assert found.images >= 2
    assert found.window_s is not None
    assert found.window_s >= 5
    assert driver.asked == ["init", "GPU-abc"], "found by its UUID, for numbers may differ"


def test_a_counter_that_stands_still_is_null_with_the_reason(machine) -> None:
    driver = Driver(joules_per_call=0.0)
    machine(driver)
    found = measure_energy(driver.call, 1, GPU, min_seconds=5, now=seconds_per_look(1))
    assert found.joules_per_image is None
    assert "did not advance" in (found.reason or "")


def test_what_cannot_be_read_is_null_with_the_reason(machine) -> None:
    assert measure_energy(lambda: None, 1, torch.device("cpu")).reason == "the device is no NVIDIA GPU"
    machine(Driver(1.0, counter=False))
    assert "Not Supported" in (measure_energy(lambda: None, 1, GPU).reason or "")
    machine(None)  # importing it fails
    assert "not installed" in (measure_energy(lambda: None, 1, GPU).reason or "")
    with pytest.raises(NvmlUnavailableError):
        open_gpu(torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_at_work_uses_energy_or_says_why_it_is_not_known() -> None:
    matrix = torch.randn(4096, 4096, device="cuda")
    found = measure_energy(lambda: matrix @ matrix, 1, GPU, min_seconds=2)
    assert (found.joules_per_image is None) == (found.reason is not None)
    assert found.joules_per_image is None or found.joules_per_image > 0
