"""Time that corrections of a frozen base save: a whole network against four single nets with the same heads.

All variants take turns, in alternating order, and the CPU time of the one thread is taken; ratios are medians over
rounds. Corrections of an untrained network take as long as those of a trained one. Prints per variant the ratio of the
MACs, the speed-up, how much of the first the second reaches, and what one sub-task encoder takes, by MACs and beyond
them, in encoders.

    OMP_NUM_THREADS=1 python benchmarks/corrections.py [--backbone vit-b16] [--size 448x576] [--rounds 9]
"""

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from beside_plain import NYUD

from harness.counting import count_macs
from harness.methods.share.corrections import CorrectedNets
from harness.methods.share.corrections.accounting import own_macs
from harness.methods.share.method import Share
from harness.methods.share.options import ShareOptions
from harness.problem import Problem
from harness.registry import load_method

Call = Callable[[], object]

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "detail for all": {"detail": "all"},
    "rank 64, 3 levels": {"rank": 64, "levels": 3},
    "a tenth of the tokens in the last block": {"first_block": -1, "rows": 0.1},
    "head alone": {"rank": 0, "detail": "none"},
}
"""Options by title; a first block of -1 is the last one."""


def nets_of(problem: Problem, backbone: str, options: Mapping[str, object], depth: int) -> CorrectedNets:
    """Return untrained networks."""
    resolved = {key: depth - 1 if value == -1 else value for key, value in options.items()}
    nets = Share(ShareOptions.model_validate({"engine": "corrections"} | resolved), backbone).build(problem).eval()
    assert isinstance(nets, CorrectedNets)
    return nets


def seconds(call: Call) -> float:
    """Return the CPU seconds of a call."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit-b16")
    parser.add_argument("--size", default="448x576", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="repeatable; all of them by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, arguments.size.split("x"))
    problem = Problem(NYUD, (height, width))
    images = torch.randn(1, 3, height, width)
    cls = load_method("single-task")
    single = cls(cls.Options(), arguments.backbone).build(problem).eval()
    with torch.inference_mode():
        whole = count_macs(lambda: single(images)).macs
        for title in arguments.variant or VARIANTS:
            depth = 12 if arguments.backbone != "vit-micro" else 4
            nets = nets_of(problem, arguments.backbone, VARIANTS[title], depth)
            subs = tuple(nets.corrections)
            trace = nets.run_base(images, subs)
            calls: dict[str, Call] = {
                "single": lambda: single(images),
                "corrections": lambda nets=nets: nets(images),
                "encoder": lambda nets=nets: nets.base(images),
                "own": lambda nets=nets, trace=trace, subs=subs: nets.correct(trace, subs),
            }
            macs = {name: count_macs(call).macs for name, call in calls.items()}
            taken: dict[str, list[float]] = {name: [] for name in calls}
            for number in range(arguments.rounds):
                for name in calls if number % 2 else reversed(calls):
                    taken[name].append(seconds(calls[name]))
            times = {name: np.array(values) for name, values in taken.items()}
            saved = whole / macs["corrections"]
            faster = float(np.median(times["single"] / times["corrections"]))
            each = macs["own"] / macs["encoder"] / len(subs)
            beyond = float(np.median(times["own"] / times["encoder"])) / len(subs) - each
            exact = sum(own_macs(nets, task, nets.settings[task]) for task in subs)
            print(
                f"{title}: MACs {saved:.2f}  time {faster:.2f}  reached {100 * faster / saved:.0f} %  "
                f"sub-task encoder {each:.4f} encoders, beyond its MACs {beyond:.4f}  ({exact / 1e9:.2f} GMAC of all)",
                flush=True,
            )


if __name__ == "__main__":
    main()
