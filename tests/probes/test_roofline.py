"""Ceilings under a fake clock, and the floor by hand."""

import pytest
import torch

from harness.compute import Compute
from harness.probes.roofline import lower_bound, measure_roofline
from harness.records.costs import Ceilings

CPU = torch.device("cpu")


def test_the_latency_bound_by_hand() -> None:
    roofline = Ceilings(device="cpu", precision="fp32", macs_per_second=1e9, matrix_side=64, copy_bytes_per_second=1e8)
    bound_by_products = lower_bound(20.0, macs=5e6, transfer_bytes=100_000, roofline=roofline)
    assert bound_by_products.compute_ms == pytest.approx(5)
    assert bound_by_products.transfer_ms == pytest.approx(1)
    assert bound_by_products.floor_ms == pytest.approx(5)
    assert bound_by_products.multiple == pytest.approx(4)
    assert bound_by_products.compute_share == pytest.approx(0.25)
    bound_by_memory = lower_bound(20.0, macs=1e6, transfer_bytes=400_000, roofline=roofline)
    assert bound_by_memory.floor_ms == pytest.approx(4)
    assert bound_by_memory.compute_share == pytest.approx(0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rates_are_positive_and_say_what_they_are_of(precision: str) -> None:
    found = measure_roofline(Compute(CPU, precision), sides=(64, 128), copy_bytes=2**20)  # type: ignore[arg-type]
    assert found.macs_per_second > 0
    assert found.copy_bytes_per_second > 0
    assert found.matrix_side in (64, 128)
    assert (found.device, found.precision, found.threads) == ("cpu", precision, torch.get_num_threads())


def test_sides_that_time_does_not_allow_are_left_out() -> None:
    ticks = iter(range(10**6))
    found = measure_roofline(Compute(CPU), sides=(32, 64), copy_bytes=2**10, now=lambda: float(next(ticks)))
    assert found.matrix_side == 32, "each look at this clock takes a second"
    assert found.macs_per_second == pytest.approx(32**3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_ceilings_far_above_a_cpu() -> None:
    found = measure_roofline(torch.device("cuda"), "bf16")
    assert found.macs_per_second > 1e12
    assert found.threads is None
