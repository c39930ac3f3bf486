"""Roofline: peak matmul rate, memory bandwidth, and the lower bound they set on the latency of a forward pass."""

import math
import time
from collections.abc import Callable, Sequence

import torch

from harness.compute import Compute, Precision
from harness.probes.timing import Clock, Stopwatch, stopwatch
from harness.records.costs import Ceilings, Floor

_SIDES = {"cpu": (1024, 1536, 2048, 3072), "cuda": (4096, 8192, 12288, 16384)}
"""Sides of the matrices by type of device: large enough for the full rate, which of them reaches it differs."""

_COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Size of the copy by type of device, well above the caches."""

_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "bf16-weights": torch.bfloat16,
}
"""What `harness.compute.Compute.autocast` gives to matrix products."""

_CALLS = 10
"""Calls of which the fastest counts: a bound is what the machine can do, not what it does on average."""

_MATRIX_SECONDS = 2.5
_COPY_SECONDS = 0.5
"""Seconds for the products and for the copy: a slow CPU takes one second for its largest product."""


def measure_roofline(
    compute: Compute,
    *,
    sides: Sequence[int] | None = None,
    copy_bytes: int | None = None,
    now: Clock = time.perf_counter,
) -> Ceilings:
    """Measure the best rate of square matrix products and of a large copy, in some three seconds.

    The process must be set to the precision already (`Compute.set_switches`), as TF32 is a switch of it.

    Args:
        compute: Device and arithmetic that are measured.
        sides: Sides of the matrices, rising; None for those that fill a device of this type.
        copy_bytes: Size of what is copied; None for one that caches do not hold.
        now: The clock of the CPU's samples and of all limits.
    """
    device, precision = compute.device, compute.precision
    watch = stopwatch(device, now)
    side, rate = _matrix_rate(sides or _SIDES[device.type], _DTYPES[precision], device, watch, now)
    # A copy reads every byte and writes it. Pages that were never written would all be one page of zeros.
    size = copy_bytes or _COPY_BYTES[device.type]
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * size / _best_seconds(lambda: target.copy_(source), watch, now, now() + _COPY_SECONDS)
    return Ceilings(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=precision,
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        macs_per_second=rate,
        matrix_side=side,
        copy_bytes_per_second=copied,
    )


def lower_bound(p50_ms: float, macs: float, transfer_bytes: int, roofline: Ceilings) -> Floor:
    """Return the lower bound on the latency of a forward pass, and the latency as a multiple of it (roofline model).

    Args:
        p50_ms: Median of the forward pass.
        macs: What it executes.
        transfer_bytes: Bytes of weights, images and predictions, each moved once.
        roofline: Of the same device at the same precision.
    """
    # compute bound = MACs / peak rate; memory bound = bytes / bandwidth; the latency is at least the larger of both
    compute_ms = 1e3 * macs / roofline.macs_per_second
    transfer_ms = 1e3 * transfer_bytes / roofline.copy_bytes_per_second
    floor_ms = max(compute_ms, transfer_ms)
    return Floor(
        compute_ms=compute_ms,
        transfer_ms=transfer_ms,
        floor_ms=floor_ms,
        multiple=p50_ms / floor_ms,
        compute_share=compute_ms / p50_ms,
    )


def _matrix_rate(
    sides: Sequence[int], dtype: torch.dtype, device: torch.device, watch: Stopwatch, now: Clock
) -> tuple[int, float]:
    """Return the side of the best product and its MACs per second."""
    deadline = now() + _MATRIX_SECONDS
    rates: dict[int, float] = {}
    for side in sides:
        # A side that time does not allow twice, to warm up and to measure, is left out, and so is what is larger.
        if rates and now() + 2 * side**3 / max(rates.values()) > deadline:
            break
        try:
            # n^3 MACs; the matrices are freed before those of the next side are made
            rates[side] = side**3 / _best_seconds(_product(side, dtype, device), watch, now, deadline)
        except torch.OutOfMemoryError:
            if not rates:
                raise
            break
    best = max(rates, key=lambda side: rates[side])
    return best, rates[best]


def _product(side: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    # Zeros would let a GPU draw less power, and so clock higher, than it does at work.
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty(side, side, dtype=dtype, device=device)
    return lambda: torch.mm(left, right, out=product)


def _best_seconds(call: Callable[[], object], watch: Stopwatch, now: Clock, deadline: float) -> float:
    """Return the seconds of the fastest of several calls after a first one; one at least, whatever the time."""
    watch.block(call, 1)
    best = math.inf
    for _ in range(_CALLS):
        best = min(best, *watch.block(call, 1))
        if now() >= deadline:
            break
    return best / 1e3
