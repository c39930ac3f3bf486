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


def test_what_cannot_be_read_is_null_with_the_reason(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus.monitor", None)
    reason = measure_energy(lambda: None, 1, torch.device("cpu")).reason
    assert reason == (
        "the device is no NVIDIA GPU; the package zeus is not installed (pip install 'mtl-harness[energy]')"
    )
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


class Monitor:
    """Stands in for ``zeus.monitor.ZeusMonitor``: every call of the model uses one joule."""

    def __init__(self, measured: dict[str, object], work: SimpleNamespace) -> None:
        self.measured, self.work, self.asked = measured, work, []

    def __call__(self, **indices: object) -> "Monitor":
        self.asked.append(indices)
        return self

    def begin_window(self, key: str) -> None:
        self.start = self.work.calls

    def end_window(self, key: str) -> SimpleNamespace:
        used = self.work.calls - self.start
        scaled = {
            key: value(used) if callable(value) else {index: used * joules for index, joules in value.items()}
            for key, value in self.measured.items()
        }
        return SimpleNamespace(
            **{"gpu_energy": {}, "cpu_energy": None, "dram_energy": None, "soc_energy": None} | scaled
        )


def by_zeus(monkeypatch: pytest.MonkeyPatch, device: str, **measured: object):
    work = SimpleNamespace(calls=0)

    def call() -> None:
        work.calls += 1

    monitor = Monitor(measured, work)
    monkeypatch.setitem(sys.modules, "zeus.monitor", SimpleNamespace(ZeusMonitor=monitor))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    found = measure_energy(call, 2, torch.device(device), min_seconds=5, now=seconds_per_look(0.5))
    return found, monitor


@pytest.mark.parametrize(
    ("device", "measured", "joules", "source"),
    [
        ("cpu", {"cpu_energy": {0: 1.0, 1: 1.0}}, 1.0, "zeus: RAPL, packages"),
        ("cpu", {"cpu_energy": {0: 3.0}, "dram_energy": {0: 1.0}}, 2.0, "zeus: RAPL, packages and memory"),
        ("cuda", {"gpu_energy": {0: 4.0}}, 2.0, "zeus: GPU"),
        ("cuda", {"soc_energy": lambda n: SimpleNamespace(total_energy_mj=5e3 * n)}, 2.5, "zeus: Jetson, board"),
        ("mps", {"soc_energy": lambda n: SimpleNamespace(gpu_mj=2000 * n)}, 1.0, "zeus: Apple, gpu"),
        (
            "cpu",
            {"soc_energy": lambda n: SimpleNamespace(cpu_total_mj=3000 * n, dram_mj=1000 * n)},
            2.0,
            "zeus: Apple, cpu and dram",
        ),
    ],
)
def test_other_counters_are_read_by_zeus(
    device: str, measured: dict[str, object], joules: float, source: str, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(None)
    found, monitor = by_zeus(monkeypatch, device, **measured)
    assert found.joules_per_image == pytest.approx(joules)
    assert found.source == source
    wanted = {"gpu_indices": [0], "cpu_indices": []} if device == "cuda" else {"gpu_indices": [], "cpu_indices": None}
    assert monitor.asked[-1] == wanted


def test_a_machine_without_counters_is_null_and_runs_nothing(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(None)
    found, monitor = by_zeus(monkeypatch, "cpu")
    assert found.joules_per_image is None
    assert "no energy counter of cpu that this user may read" in (found.reason or "")
    assert monitor.work.calls == 0
    still, _ = by_zeus(monkeypatch, "cpu", cpu_energy={0: 0.0})
    assert "did not advance" in (still.reason or "")
