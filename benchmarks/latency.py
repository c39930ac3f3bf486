"""Whether the latency probe, the ceilings and the paired ratios can be trusted on this machine.

Prints the probe's overhead over a bare loop, a matrix product predicted from the ceilings beside its measured time,
and the ratio of a model to its own twin, on the machine as it is and under a background load.

    python benchmarks/latency.py [--tries 5] [--threads 2] [--load 1]
"""

import argparse
import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from harness.compute import Compute
from harness.probes.latency import measure_latency
from harness.probes.pairing import paired_ratio
from harness.probes.prepare import prepare_call
from harness.probes.roofline import measure_roofline
from harness.probes.rules import LatencyRules
from harness.probes.timing import Subject, WallStopwatch
from harness.problem import Problem, TaskSpec
from harness.run.configure import configure

CPU = torch.device("cpu")
PROBLEM = Problem((TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (112, 144))
RULES = LatencyRules.for_device(CPU)


def overhead(rounds: int = 300, calls: int = 30) -> float:
    """Return how much longer calls of about 1 ms take in the probe than in a bare loop, relative.

    A block of the probe and a bare loop of as many calls are each timed as a whole, by two readings of the clock. They
    take turns, as subjects do in the probe, so that what disturbs the machine disturbs both.
    """
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4)))
    call = prepare_call(model, torch.randn(64, 512), Compute(CPU))
    watch = WallStopwatch()

    def bare() -> None:
        for _ in range(calls):
            call()

    def probed() -> None:
        watch.block(call, calls)

    once = replace(RULES, min_iterations=rounds, min_seconds=0.0, max_seconds=60.0, block_seconds=0.0)
    plain, inside = measure_latency([Subject("bare loop", bare), Subject("probe", probed)], CPU, once)
    for timing in (plain, inside):
        print(f"  {timing.name} {np.median(timing.samples_ms) / calls:.4f} ms per call")
    return paired_ratio(inside, plain, "bare loop").ratio - 1


def prediction(side: int = 1792) -> float:
    """Return how much longer a matrix product takes than the ceilings predict, relative.

    The side is none of those that the ceilings are measured on.
    """
    ceilings = measure_roofline(Compute(CPU))
    print(f"  {ceilings.macs_per_second / 1e9:.1f} GMAC/s at {ceilings.matrix_side}", end=", ")
    print(f"copy {ceilings.copy_bytes_per_second / 1e9:.1f} GB/s")
    left, right = torch.randn(2, side, side)
    product = torch.empty(side, side)
    [timing] = measure_latency([Subject("product", lambda: torch.mm(left, right, out=product))], CPU, RULES)
    predicted, measured = 1e3 * side**3 / ceilings.macs_per_second, float(np.median(timing.samples_ms))
    print(f"  {side}: predicted {predicted:.1f} ms, measured {measured:.1f} ms")
    return measured / predicted - 1


def twins(tries: int) -> list[float]:
    """Return how far the ratio of two identical models is from one, in each of several tries."""
    [method] = configure(["multi-task"], "vit-micro", {})
    images = torch.randn(1, 3, *PROBLEM.input_size)
    calls = [prepare_call(method.build(PROBLEM), images, Compute(CPU)) for _ in range(2)]
    subjects = [Subject(name, call) for name, call in zip(("one", "twin"), calls, strict=True)]
    errors = []
    for _ in range(tries):
        start = time.perf_counter()
        one, twin = measure_latency(subjects, CPU, RULES)
        paired = paired_ratio(twin, one, "one")
        medians = [float(np.median(timing.samples_ms)) for timing in (one, twin)]
        print(
            f"  {medians[0]:.2f} and {medians[1]:.2f} ms, {paired.rounds} rounds, {time.perf_counter() - start:.0f} s: "
            f"{paired.ratio:.4f} [{paired.low:.4f}, {paired.high:.4f}], {one.other_cores:.2f} cores busy elsewhere"
        )
        errors.append(paired.ratio - 1)
    return errors


def _spin() -> None:
    """Work in bursts of random length, as other people's processes do, for as long as there is somebody to disturb."""
    generator, parent = np.random.default_rng(), multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive():
        end = time.perf_counter() + generator.exponential(0.2)
        while time.perf_counter() < end:
            np.sqrt(np.arange(50_000.0))
        time.sleep(generator.exponential(0.1))


@contextlib.contextmanager
def background(processes: int) -> Iterator[None]:
    """Keep processes at work for the length of the context."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        time.sleep(2)  # they have to import what they work with
        yield
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def main() -> None:
    """Print the three figures, each beside what it must not exceed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5, help="pairs of identical models to time (default 5)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: as it would use)")
    parser.add_argument("--load", type=int, default=1, help="background processes (default 1)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads\noverhead of the probe")
    print(f"  {overhead():+.2%} (must be below 2 %)\nproduct predicted from the ceilings")
    print(f"  {prediction():+.1%} (must be within 10 %)")
    for load in (0, arguments.load):
        print(f"ratio of twins beside {load} busy processes")
        with background(load):
            worst = max(twins(arguments.tries), key=abs)
        print(f"  at worst {worst:+.2%} (must be within 3 %)")


if __name__ == "__main__":
    main()
