"""Time that skipped tokens save: a gated block of the sharing method against the dense one.

Times one block of an encoder, dense and with a fraction of its tokens active, interleaved, and prints for each fraction
the ratio of the multiplies, the measured speed-up and how much of the first the second reaches.

Usage: python benchmarks/share.py [--backbone vit-b16] [--size 512] [--queries active] [--batch-size 1] [--device cpu]
"""

import argparse

import torch

from harness.counting import count_macs
from harness.method import accounting_of
from harness.methods.share.execution import Dense, TokenGated
from harness.methods.share.method import Share
from harness.methods.share.options import ShareOptions
from harness.probes.latency import measure_latency
from harness.probes.pairing import paired_ratio
from harness.probes.timing import Subject
from harness.problem import Problem, TaskSpec

FRACTIONS = (0.1, 0.2, 0.3, 0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit-b16")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--queries", choices=["active", "all"], default="active")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    problem = Problem((TaskSpec("semseg", 21), TaskSpec("depth")), (options.size, options.size))
    model = accounting_of(Share(ShareOptions(), options.backbone)).untrained(problem).to(device).eval()
    images = torch.randn(options.batch_size, 3, options.size, options.size, device=device)
    weights = model.weights_of("depth")
    block = model.functional.depth // 2
    with torch.inference_mode():
        base = model.run_base(images, ("depth",), "gated")
        x = base.activations[block].norm1 + 0.01 * torch.randn_like(base.activations[block].norm1)

        def call(fraction: float) -> object:
            gates = model.uniform_gates(fraction)
            execution = TokenGated(base, gates, "top-k", options.queries) if fraction < 1 else Dense()
            return lambda: model.functional.block(weights, block, x, execution)

        calls = {fraction: call(fraction) for fraction in (1.0, *FRACTIONS)}
        macs = {fraction: count_macs(run).macs for fraction, run in calls.items()}  # type: ignore[arg-type]
        timings = measure_latency([Subject(f"{fraction}", run) for fraction, run in calls.items()], device)  # type: ignore[arg-type]
    tokens = x.shape[1]
    print(f"{options.backbone}, {tokens} tokens, batch {options.batch_size}, {options.queries} queries, {device}")
    print(f"{torch.get_num_threads()} threads, {macs[1.0] / options.batch_size / 1e9:.2f} GMAC dense")
    for fraction, timing in zip(calls, timings, strict=True):
        ratio = paired_ratio(timing, timings[0], "dense").ratio
        saved = macs[1.0] / macs[fraction]
        print(
            f"tokens {fraction:4.2f}  MACs {saved:5.2f}x  time {1 / ratio:5.2f}x  reached {100 / ratio / saved:5.1f} %"
        )


if __name__ == "__main__":
    main()
