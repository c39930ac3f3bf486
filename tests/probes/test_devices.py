"""CUDA, MPS and other devices by mocks: functions called, their order, and the device they are called on."""

import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.compute import Compute, cudnn_benchmark, pick_device
from harness.data.sample import Batch
from harness.errors import UsageError
from harness.method import MultiTaskModel
from harness.probes import latency, memory, prepare
from harness.probes.conditions import GpuWatch, conditions, disturbances
from harness.probes.energy import measure_energy
from harness.probes.environment import environment, system_id
from harness.probes.latency import measure_latency, to_latency
from harness.probes.memory import measure_memory
from harness.probes.nvml import NvmlUnavailableError, open_gpu
from harness.probes.prepare import prepare_call
from harness.probes.rules import LatencyRules
from harness.probes.timing import CudaStopwatch, Subject, WallStopwatch, stopwatch
from harness.problem import Problem, TaskSpec
from harness.records.costs import Conditions, Energy, Latency

CPU, GPU, SECOND, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1), torch.device("mps")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Log(list[str]):
    """Calls, in order."""

    def __call__(self, name: str, result: object = None) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> object:
            self.append(name)
            return result

        return call


class Context:
    """A context that notes when it is entered and left."""

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name = log, name

    def __enter__(self) -> None:
        self.log.append(f"enter {self.name}")

    def __exit__(self, *_: object) -> None:
        self.log.append(f"leave {self.name}")


class Small(MultiTaskModel):
    def __init__(self) -> None:
        super().__init__(Problem((TaskSpec("depth"),), (8, 8)))
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, images: torch.Tensor, tasks: object = None) -> dict[str, torch.Tensor]:
        # [B, 3, H, W] -> [B, 4, H, W] -> [B, H, W, 1] -> [B, 1, H, W]
        return {"depth": self.head(self.norm(self.conv(images)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)}


# Devices and precisions


@pytest.mark.parametrize("name", ["meta", "xpu", "cpu:0", "cuda:x", "vulkan", "", "cuda:", "hpu:1"])
def test_devices_whose_clocks_are_not_known_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cpu, cuda, cuda:INDEX and mps"):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"--device cuda:99: ") as caught:
        pick_device("cuda:99")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "capability", "message"),
    [(MPS, None, "does not exist on mps"), (GPU, (7, 5), "from Ampere on, not Old GPU"), (CPU, None, "needs a GPU")],
)
def test_tf32_is_refused_where_there_is_none(
    device: torch.device, capability: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(UsageError, match=message):
        Compute(device, "tf32").set_switches()


def test_tf32_is_on_for_it_alone_and_deterministic_kernels_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or (8, 0))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        Compute(SECOND, "tf32").set_switches(deterministic=True)
        assert asked == [SECOND], "the card that is used, not the first one"
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        Compute(CPU).set_switches()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()


def test_weights_are_cast_once_and_predictions_stay_close() -> None:
    torch.manual_seed(0)
    model, images = Small().eval(), torch.randn(2, 3, 8, 8)
    exact = model(images)["depth"]
    compute = Compute(CPU, "bf16-weights")
    compute.place(model)
    assert model.conv.weight.dtype == model.head.weight.dtype == torch.bfloat16
    assert {model.norm.weight.dtype, model.head.bias.dtype, model.norm.running_mean.dtype} == {torch.float32}
    torch.testing.assert_close(prepare_call(model, images, compute)()["depth"].float(), exact, atol=0.1, rtol=0.1)
    assert compute.training() == Compute(CPU, "bf16"), "an optimiser steps in float32"


def test_other_precisions_leave_the_weights_alone() -> None:
    model = Compute(CPU, "bf16").place(Small())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert Compute(CPU, "fp16").training().precision == "fp16"


# Clocks


def test_mps_is_waited_for_before_each_reading_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(torch.mps, "synchronize", log("wait"))
    watch = stopwatch(MPS, now=log("clock", 1.0))
    assert isinstance(watch, WallStopwatch)
    watch.block(log("call"), 2)
    assert log == ["wait", "clock", "call", "wait", "clock"] * 2


def test_no_clock_is_made_up_for_an_unknown_device() -> None:
    with pytest.raises(ValueError, match="no stopwatch for the device meta"):
        stopwatch(torch.device("meta"))


def test_a_gpu_is_read_while_it_works_on_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()

    class Event:
        def record(self) -> None:
            log.append("event")

        def elapsed_time(self, end: object) -> float:
            return 1.0

    monkeypatch.setattr("harness.probes.timing._event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: Context(log, str(device)))
    monkeypatch.setattr(torch.cuda, "synchronize", log("synchronise"))
    assert CudaStopwatch(SECOND).block(log("call"), 2, log("read")) == [1.0, 1.0]
    timed = ["event", "call", "event"] * 2
    assert log == ["enter cuda:1", *timed, "read", "synchronise", "leave cuda:1"]


class Driver:
    """Stands in for ``pynvml``: has what a test gives it; the rest is missing, as in old bindings."""

    class NVMLError(Exception):
        pass

    def __init__(self, **symbols: object) -> None:
        self.__dict__.update(symbols)

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts a driver and two GPUs into the machine."""

    def place(found: Driver, **properties: object) -> None:
        cards = [SimpleNamespace(name=f"Card {i}", total_memory=i, major=8, minor=i, **properties) for i in range(2)]
        monkeypatch.setitem(sys.modules, "pynvml", found)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: cards[device.index or 0])
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)

    return place


def test_a_binding_without_symbols_costs_no_latency(driver: Callable[..., None]) -> None:
    driver(Driver(), uuid="abc")
    found = conditions(GPU)
    assert (found.gpu_sm_mhz, found.gpu_celsius, found.gpu_throttle, found.gpu_other_processes) == (
        None,
        None,
        [],
        None,
    )
    assert found.load_average is not None
    gpu = open_gpu(GPU)
    assert (gpu.driver(), gpu.power_limit_watts(), gpu.persistence()) == (None, None, None)
    assert "cannot be read" in (measure_energy(lambda: None, 1, GPU).reason or "")


def test_newer_names_of_the_throttle_reasons_are_read(driver: Callable[..., None]) -> None:
    events = Driver(nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 8, nvmlClocksEventReasonHwSlowdown=8)
    driver(events, uuid="abc")
    assert conditions(GPU).gpu_throttle == ["hardware slowdown"]


def test_properties_without_a_uuid_are_null_with_the_reason(driver: Callable[..., None]) -> None:
    driver(Driver())
    assert conditions(GPU).gpu_sm_mhz is None
    assert "UUID" in (measure_energy(lambda: None, 1, GPU).reason or "")


@pytest.mark.parametrize(
    ("found", "uuid"),
    [(Driver(), "MIG-1-2"), (Driver(nvmlDeviceGetMigMode=lambda handle: [1, 1]), "abc")],
)
def test_a_part_of_a_gpu_is_not_given_the_energy_of_the_board(
    found: Driver, uuid: str, driver: Callable[..., None]
) -> None:
    driver(found, uuid=uuid)
    with pytest.raises(NvmlUnavailableError, match="whole board"):
        open_gpu(GPU)
    assert "MIG" in (measure_energy(lambda: None, 1, GPU).reason or "")


def test_a_mig_instance_that_nvml_does_not_know_is_named(driver: Callable[..., None]) -> None:
    def unknown(uuid: str) -> str:
        raise Driver.NVMLError("Not Found")

    driver(Driver(nvmlDeviceGetHandleByUUID=unknown), uuid="abc")
    assert "MIG instance: Not Found" in (measure_energy(lambda: None, 1, GPU).reason or "")


def busy_driver() -> Driver:
    clocks = iter([1900, 1900] + [1500] * 10**4)
    joules = iter(range(0, 10**9, 1000))
    return Driver(
        NVML_CLOCK_SM=0,
        NVML_CLOCK_MEM=1,
        nvmlDeviceGetClockInfo=lambda handle, which: next(clocks),
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 4,
        nvmlClocksThrottleReasonSwPowerCap=4,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=1), SimpleNamespace(pid=2)],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(joules),
    )


def test_energy_says_when_others_use_the_gpu_or_its_clocks_fall(driver: Callable[..., None]) -> None:
    driver(busy_driver(), uuid="abc")
    ticks = iter(range(10**6))
    found = measure_energy(lambda: None, 1, GPU, min_seconds=3, now=lambda: float(next(ticks)))
    assert found.joules_per_image is not None
    assert found.disturbed == [
        "the GPU lowered its clocks: software power cap",
        "1 other processes held memory of the GPU",
    ]
    assert "disturbed" not in Energy(joules_per_image=1.0).model_dump(), "older records stay as they are"


def test_clocks_that_fall_during_the_rounds_alone_are_seen(
    driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(busy_driver(), uuid="abc")
    monkeypatch.setattr("harness.probes.conditions._WATCH_SECONDS", 0.0)
    watch = GpuWatch(GPU)
    watch.look()
    watch.look()
    quiet = Conditions(load_average=0.1)
    reasons = disturbances(quiet, quiet, [1.0, 1.0], cores=2, watch=watch)
    assert any("fell from 1900 to 1500 MHz" in reason for reason in reasons)
    assert any("software power cap" in reason for reason in reasons)


def test_rounds_are_watched_and_the_worst_state_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    class Watch(GpuWatch):
        def __init__(self, device: torch.device) -> None:
            self.first = self.worst = Conditions(load_average=None, gpu_sm_mhz=1500)

        def look(self) -> None:
            looks.append("look")

    class AtWork(WallStopwatch):
        def block(self, call: Callable[[], object], calls: int, at_work: Callable[[], object] = int) -> list[float]:
            at_work()
            return super().block(call, calls)

    monkeypatch.setattr(latency, "GpuWatch", Watch)
    monkeypatch.setattr(latency, "stopwatch", lambda device, now: AtWork(now))
    rules = LatencyRules(min_iterations=4, min_seconds=0.0, min_warmup_seconds=0.0, block_seconds=0.0)
    [timing] = measure_latency([Subject("a", lambda: None)], CPU, rules)
    assert len(looks) == len(timing.rounds), "once a block, and not in the warm-up"
    assert to_latency(timing, 1, "fp32").during == Conditions(load_average=None, gpu_sm_mhz=1500)


def test_records_of_a_cpu_have_no_fields_of_a_gpu() -> None:
    rules = LatencyRules(min_iterations=4, min_seconds=0.0, min_warmup_seconds=0.0)
    [timing] = measure_latency([Subject("a", lambda: None)], CPU, rules)
    found = to_latency(timing, 1, "fp32")
    assert not {"during", "cudnn_benchmark"} & found.model_dump().keys()
    assert Latency.model_validate_json(found.model_dump_json()) == found


# cuDNN


@pytest.mark.parametrize(
    ("device", "deterministic", "on"), [(GPU, False, True), (CPU, False, False), (GPU, True, False)]
)
def test_kernels_are_chosen_by_timing_on_a_gpu_alone(device: torch.device, deterministic: bool, on: bool) -> None:
    assert not torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(deterministic)
    try:
        with cudnn_benchmark(device):
            assert torch.backends.cudnn.benchmark is on
    finally:
        torch.use_deterministic_algorithms(False)
    assert not torch.backends.cudnn.benchmark


# The card that is named


def test_environment_and_id_are_those_of_the_card_that_is_used(driver: Callable[..., None]) -> None:
    driver(Driver())
    first, second = environment(GPU), environment(SECOND)
    assert (first["gpu"], second["gpu"]) == ("Card 0", "Card 1")
    assert second["gpu_capability"] == "8.1"
    assert system_id(first) != system_id(second)
    assert environment()["gpu"] == environment(CPU)["gpu"] == "Card 0"


# Memory


def test_the_peak_of_training_is_that_of_a_step_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(memory, "training_step", lambda *_: log("step"))
    monkeypatch.setattr(memory, "_peak", lambda step, device: log.append("reset") or step())
    memory._training_peak(Small(), torch.randn(1, 3, 8, 8), Compute(CPU))
    assert log == ["step", "reset", "step"], "AdamW's state exists when the peak is reset"


def test_training_runs_on_float32_weights_where_they_are_cast_for_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def step(model: nn.Module, images: torch.Tensor, compute: Compute) -> Callable[[], None]:
        seen.extend({parameter.dtype for parameter in model.parameters()})
        assert compute.precision == "bf16"
        return lambda: None

    monkeypatch.setattr(memory, "training_step", step)
    monkeypatch.setattr(memory, "_peak", lambda step, device: None)
    compute = Compute(CPU, "bf16-weights")
    memory._training_peak(compute.place(Small()), torch.randn(1, 3, 8, 8), compute)
    assert seen == [torch.float32]


def test_pools_of_compiled_models_are_freed_before_a_peak_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(memory, "release_compiled", log("release"))
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, log(name))
    for name in ("max_memory_allocated", "max_memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, log(name, 1))
    memory._peak(log("work"), SECOND)
    assert log.index("release") < log.index("empty_cache") < log.index("reset_peak_memory_stats") < log.index("work")


# CUDA graphs


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Put functions that only note their calls in the place of CUDA's streams and graphs."""
    log = Log()
    stream = SimpleNamespace(wait_stream=log("wait"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: Context(log, str(device)))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: Context(log, "side stream"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=log("replay")))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: Context(log, "capture"))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: f"state of {device}")
    return log


def test_a_graph_keeps_its_input_alive(graphs: Log) -> None:
    def captured() -> tuple[Callable[[], object], "weakref.ref[torch.Tensor]"]:
        fixed = torch.randn(4)
        return prepare._capture(lambda: {"depth": fixed * 2}, SECOND), weakref.ref(fixed)

    replay, fixed = captured()
    gc.collect()
    assert fixed() is not None, "replays read it at its address"
    replay()
    assert graphs[-1] == "replay"
    del replay
    gc.collect()
    assert fixed() is None, "and no longer than the replays"


def test_a_capture_that_fails_gives_the_generator_back(graphs: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[object] = []
    monkeypatch.setattr(prepare, "_restore_generator", lambda device, state: restored.extend([device, state]))

    def call() -> dict[str, torch.Tensor]:
        if graphs[-1] == "enter capture":
            raise RuntimeError("not permitted when stream is capturing")
        return {}

    with pytest.raises(RuntimeError, match="not permitted"):
        prepare._capture(call, SECOND)
    assert restored == [SECOND, "state of cuda:1"]


def test_the_generator_of_the_captured_device_gets_a_new_state(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []
    generators = [SimpleNamespace(graphsafe_set_state=lambda state, i=i: log.append((i, state))) for i in range(2)]
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    monkeypatch.setattr(torch, "Generator", lambda device: f"fresh on {device}")
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: log.append((state, device)))
    prepare._restore_generator(SECOND, "before")  # type: ignore[arg-type]
    assert log == [(1, "fresh on cuda:1"), ("before", SECOND)]


# Copies to a device


@pytest.mark.parametrize(
    ("device", "pinned", "waits"), [(GPU, True, False), (GPU, False, True), (MPS, True, True), (CPU, False, True)]
)
def test_only_copies_from_pinned_memory_to_a_gpu_are_not_waited_for(
    device: torch.device, pinned: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[tuple[object, bool]] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking: copies.append((device, non_blocking)) or self
    )
    Batch(["a"], torch.zeros(1, 3, 2, 2), {"depth": torch.zeros(1, 1, 2, 2)}, [(2, 2)], [(0, 0)]).to(device)
    assert copies == [(device, not waits)] * 2


def test_a_resumed_checkpoint_is_loaded_on_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.training.checkpoint import load_checkpoint

    places: list[object] = []
    content = {"stage": 0, "iteration": 1, "state": {}, "losses": []}
    monkeypatch.setattr(torch, "load", lambda path, map_location, weights_only: places.append(map_location) or content)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    assert load_checkpoint(tmp_path / "checkpoint.pt") is not None
    assert places == ["cpu"], "a copy on the device may not fit beside the model that is trained"


# On a real GPU


@pytest.mark.gpu
@needs_cuda
def test_the_first_step_of_training_peaks_below_the_later_ones() -> None:
    wide = Small()
    wide.head = nn.Sequential(nn.Linear(4, 2000), nn.Linear(2000, 2000), nn.Linear(2000, 1))
    found = measure_memory(wide, torch.randn(2, 3, 8, 8), Compute(GPU))
    assert found.training_step is not None, found.reasons
    assert found.training_step.allocated_bytes >= 3 * 4 * 4_000_000, "weights and both moments"


@pytest.mark.gpu
@needs_cuda
def test_random_numbers_are_drawn_after_a_failed_capture() -> None:
    class Waits(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            noise = torch.rand_like(images)
            return {"depth": noise * float(images.sum())}  # waits for the device, which no capture allows

    from harness.compute import ExecutionSettings
    from harness.errors import MethodError

    with pytest.raises(MethodError, match="captured"):
        prepare_call(Waits(), torch.ones(1, 3, 4, 4), Compute(GPU), ExecutionSettings(cuda_graph=True))
    assert torch.randn(3, device=GPU).isfinite().all()


@pytest.mark.gpu
@needs_cuda
def test_bf16_weights_predict_on_a_gpu() -> None:
    compute = Compute(GPU, "bf16-weights")
    model, images = Small().eval(), torch.randn(2, 3, 8, 8)
    exact = model(images)["depth"]
    found = prepare_call(compute.place(model), images, compute)()["depth"]
    torch.testing.assert_close(found.float().cpu(), exact, atol=0.1, rtol=0.1)
