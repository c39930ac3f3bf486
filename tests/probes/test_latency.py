"""The latency probe: order of turns, stop rules under a fake clock, statistics by hand, ratios under drift."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.compute import Compute, ExecutionSettings
from harness.errors import MethodError, UsageError
from harness.probes.conditions import disturbances
from harness.probes.latency import measure_latency, to_latency
from harness.probes.pairing import paired_ratio
from harness.probes.prepare import prepare_call, prepare_forward
from harness.probes.rules import LatencyRules
from harness.probes.timing import CudaStopwatch, Subject, Timing
from harness.records.costs import Conditions, Latency

CPU = torch.device("cpu")
QUIET = Conditions(load_average=0.5)


class FakeTime:
    """A clock that only subjects move."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls: list[str] = []

    def now(self) -> float:
        return self.seconds

    def subject(self, name: str, ms: float, drift: float = 0.0) -> Subject:
        def call() -> None:
            self.calls.append(name)
            self.seconds += (ms / 1e3) * (1 + drift * len(self.calls))

        return Subject(name, call)


def rules(**changes: float) -> LatencyRules:
    content = {"min_iterations": 4, "min_seconds": 0.0, "block_seconds": 0.0, "min_warmup_seconds": 0.0, **changes}
    return LatencyRules(**content)  # type: ignore[arg-type]


def timing(rounds: list[tuple[float, ...]], session: str = "s") -> Timing:
    return Timing("x", tuple(rounds), 3, "perf_counter", session, (), 2, QUIET, QUIET, 0.0)


def test_subjects_take_turns_there_and_back() -> None:
    clock = FakeTime()
    measure_latency([clock.subject("a", 1), clock.subject("b", 2), clock.subject("c", 3)], CPU, rules(), now=clock.now)
    warm = next(place for place in range(len(clock.calls)) if clock.calls[place : place + 6] == list("abccba"))
    turns = "".join(clock.calls[warm:])
    assert turns == "abccba" * (len(turns) // 6)
    assert len(turns) // 3 >= 4


def test_all_samples_of_a_session_are_paired_round_by_round() -> None:
    clock = FakeTime()
    one, two = measure_latency([clock.subject("a", 1), clock.subject("b", 3)], CPU, rules(), now=clock.now)
    assert one.session == two.session
    assert (one.interleaved_with, two.interleaved_with) == (("b",), ("a",))
    assert len(one.rounds) == len(two.rounds)
    assert one.samples_ms == pytest.approx([1.0] * len(one.samples_ms))
    assert paired_ratio(two, one, "a").ratio == pytest.approx(3)


def test_the_first_call_of_a_longer_block_is_left_out() -> None:
    clock = FakeTime()
    [found] = measure_latency([clock.subject("a", 10)], CPU, rules(block_seconds=0.05), now=clock.now)
    assert {len(block) for block in found.rounds} == {5}
    warm = len(clock.calls) - found.warmup
    assert warm == 6 * len(found.rounds), "one call more per block than samples"


def test_sampling_goes_on_until_both_iterations_and_seconds_are_enough() -> None:
    clock = FakeTime()
    [by_count] = measure_latency([clock.subject("a", 1)], CPU, rules(min_iterations=50), now=clock.now)
    assert len(by_count.samples_ms) >= 50
    [by_time] = measure_latency([clock.subject("a", 100)], CPU, rules(min_seconds=2.0), now=clock.now)
    assert sum(by_time.samples_ms) >= 2000
    [slow] = measure_latency(
        [clock.subject("a", 30_000)], CPU, rules(min_iterations=100, max_seconds=60.0), now=clock.now
    )
    assert 5 <= len(slow.samples_ms) <= 8, "time is spent, but a few samples are always taken"


def test_warm_up_ends_when_the_median_stands_still() -> None:
    assert rules().warm([1.0] * 5)
    assert not rules().warm([1.0] * 2), "too few"
    assert not rules().warm([10.0, 8.0, 6.0, 4.0, 2.0]), "still falling"
    assert rules(max_warmup_seconds=0.02).warm([10.0, 8.0, 6.0, 4.0, 2.0]), "but not for ever"


def test_a_steady_drift_cancels_in_the_ratio() -> None:
    clock = FakeTime()
    subjects = [clock.subject("a", 1, drift=1e-3), clock.subject("b", 1, drift=1e-3)]
    one, two = measure_latency(subjects, CPU, rules(min_iterations=200), now=clock.now)
    assert max(one.samples_ms) > 1.2 * min(one.samples_ms)
    assert paired_ratio(two, one, "a").ratio == pytest.approx(1, abs=0.005)


def test_a_planted_slowdown_is_found_under_noise_that_hides_it_in_the_medians() -> None:
    generator = np.random.default_rng(0)
    weather = generator.uniform(1, 3, 60)
    noise = generator.normal(1, 0.02, (2, 60))
    reference = timing([(w * n,) for w, n in zip(weather, noise[0], strict=True)])
    slower = timing([(1.15 * w * n,) for w, n in zip(weather, noise[1], strict=True)])
    found = paired_ratio(slower, reference, "r")
    assert found.ratio == pytest.approx(1.15, abs=0.02)
    assert 1.1 < found.low <= found.ratio <= found.high < 1.2
    assert found.rounds == 60
    with pytest.raises(ValueError, match="one session"):
        paired_ratio(slower, timing([(1.0,)], session="other"), "r")


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50))
def test_statistics_are_those_of_the_samples(samples: list[float]) -> None:
    latency = to_latency(timing([(sample,) for sample in samples]), 4, "fp32")
    assert latency.p50_ms == pytest.approx(float(np.median(samples)))
    assert min(samples) <= latency.p50_ms <= latency.p90_ms <= latency.p95_ms <= latency.p99_ms <= max(samples) * 1.0001
    assert latency.images_per_second == pytest.approx(4000 / latency.p50_ms)
    assert latency.sampling.rounds == [1] * len(samples)


def test_percentiles_by_hand() -> None:
    latency = Latency.of(
        [float(x) for x in range(1, 102)],
        batch_size=2,
        precision="fp32",
        sampling={"warmup": 1, "clock": "c", "session": "s", "rounds": [101], "other_cores": 0.0},
        before=QUIET,
        after=QUIET,
    )
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.iqr_ms) == (51, 91, 100, 50)


def test_disturbances_are_told_and_quiet_is_quiet() -> None:
    steady = [1.0, 1.01, 0.99, 1.0]
    assert disturbances(QUIET, QUIET, steady, 0.0, threads=2, cores=2) == []
    busy = Conditions(load_average=5.0)
    assert "load average was 5.0 on 2 cores" in disturbances(QUIET, busy, steady, cores=2)[0]
    assert disturbances(busy, Conditions(load_average=4.0), steady, cores=2) == [], "it falls: of what ran before"
    assert "other processes kept 1.0 of 2 cores busy" in disturbances(QUIET, QUIET, steady, 1.0, threads=2, cores=2)[0]
    hot = Conditions(load_average=0.5, gpu_sm_mhz=1500, gpu_throttle=["hardware slowdown"], gpu_other_processes=2)
    cool = Conditions(load_average=0.5, gpu_sm_mhz=1900)
    told = disturbances(cool, hot, steady, cores=2)
    assert any("hardware slowdown" in line for line in told)
    assert any("fell from 1900 to 1500 MHz" in line for line in told)
    assert any("2 other processes" in line for line in told)
    assert "quartiles" in disturbances(QUIET, QUIET, [1.0, 2.0, 3.0, 4.0], cores=2)[0]


class Doubles(torch.nn.Module):
    """Predicts its input twice over."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        return {"depth": images @ images.transpose(-1, -2)}


def test_calls_run_as_inference_at_the_precision_and_layout_asked_for() -> None:
    images = torch.randn(2, 3, 4, 8)
    assert prepare_forward(Doubles(), Compute(CPU, "bf16"))(images)["depth"].dtype == torch.bfloat16
    call = prepare_call(Doubles(), images, Compute(CPU), ExecutionSettings(channels_last=True))
    torch.testing.assert_close(call()["depth"], images @ images.transpose(-1, -2))  # type: ignore[index]


def test_what_this_device_cannot_do_is_one_clear_line() -> None:
    images = torch.randn(1, 3, 4, 4)
    with pytest.raises(UsageError, match="CUDA graph needs a GPU"):
        prepare_call(Doubles(), images, Compute(CPU), ExecutionSettings(cuda_graph=True))
    with pytest.raises(UsageError, match="did you mean max-autotune"):
        prepare_call(Doubles(), images, Compute(CPU), ExecutionSettings("max-autotun"))

    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> object:
            raise RuntimeError("no such kernel\nand more")

    with pytest.raises(MethodError, match=r"no such kernel$"):
        prepare_call(Broken(), images, Compute(CPU), ExecutionSettings("default"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_events_time_what_the_gpu_does_and_graphs_replay_it() -> None:
    device = torch.device("cuda")
    images = torch.randn(2, 3, 64, 64, device=device)
    eager = prepare_call(Doubles(), images, Compute(device))
    graph = prepare_call(Doubles(), images, Compute(device), ExecutionSettings(cuda_graph=True))
    torch.testing.assert_close(eager()["depth"], graph()["depth"])  # type: ignore[index]
    samples = CudaStopwatch(device).block(graph, 10)
    assert len(samples) == 10
    assert all(sample > 0 for sample in samples)
    [timing] = measure_latency([Subject("graph", graph)], device)
    assert len(timing.samples_ms) >= 100
    assert timing.clock == "cuda-events"
