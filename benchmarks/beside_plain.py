"""Times networks beside the same networks run straightforwardly, in turn; shared by the scripts of the baselines."""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.method import MultiTaskModel
from harness.probes.latency import measure_latency
from harness.probes.pairing import paired_ratio
from harness.probes.rules import LatencyRules
from harness.probes.timing import Subject
from harness.problem import Problem, TaskSpec
from harness.run.configure import configure

NYUD = (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary"))
PASCAL = (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary"))


def resized(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly."""
    return F.interpolate(map_, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Case:
    """A network and how it is run straightforwardly."""

    method: str
    backbone: str
    problem: Problem
    plain: Callable[..., dict[str, Tensor]]


def subjects(case: Case, batch: int, device: torch.device, training: bool) -> list[Subject]:
    """Return our forward pass and the straightforward one, which must agree; in training, with the backward pass."""
    [method] = configure([case.method], case.backbone, {})
    model: MultiTaskModel = method.build(case.problem).to(device).eval()
    images = torch.randn(batch, 3, *case.problem.input_size, device=device)

    def call(forward: Callable[[], dict[str, Tensor]]) -> Callable[[], object]:
        def run() -> None:
            if training:
                sum(map_.mean() for map_ in forward().values()).backward()
                return
            with torch.inference_mode():
                forward()

        return run

    def ours() -> dict[str, Tensor]:
        return model(images)

    def plain() -> dict[str, Tensor]:
        return case.plain(model, images)

    with torch.inference_mode():
        expected = plain()
        for task, map_ in ours().items():
            torch.testing.assert_close(map_, expected[task], rtol=1e-3, atol=1e-4)
    return [Subject("plain", call(plain)), Subject("ours", call(ours))]


def main(description: str | None, cases: Mapping[str, Case], quick: Sequence[str]) -> None:
    """Print both times of every case, and their ratio, which must not exceed 1.05."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(cases)} (default: the small ones)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: as it would use)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0, help="longest time per subject (default 15)")
    parser.add_argument("--train", action="store_true", help="with the backward pass")
    parser.add_argument("--record", type=Path, help="file to which the results are added")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    rules = replace(LatencyRules.for_device(device), max_seconds=arguments.seconds)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    for name in arguments.names or quick:
        pair = subjects(cases[name], arguments.batch, device, arguments.train)
        # One thread has a clock of its own, which other work on the machine does not advance.
        clock = time.thread_time if alone else time.perf_counter
        plain, ours = measure_latency(pair, device, rules, now=clock)
        paired = paired_ratio(ours, plain, "plain")
        medians = [float(np.median(timing.samples_ms)) for timing in (plain, ours)]
        print(f"{name}: plain {medians[0]:.2f} ms, ours {medians[1]:.2f} ms", end=", ")
        print(f"ratio {paired.ratio:.3f} [{paired.low:.3f}, {paired.high:.3f}]", flush=True)
        if arguments.record is not None:
            where = processor() if device.type == "cpu" else torch.cuda.get_device_name(device)
            key = {"name": name, "device": where, "threads": torch.get_num_threads(), "batch": arguments.batch}
            values = {"plain_ms": round(medians[0], 3), "ours_ms": round(medians[1], 3)}
            values |= {part: round(getattr(paired, part), 4) for part in ("ratio", "low", "high")}
            rest = {"clock": "thread" if alone else "wall", "torch": torch.__version__, "samples": len(ours.samples_ms)}
            add_record(arguments.record, key | {"train": arguments.train}, values | rest)


def add_record(path: Path, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Add a result to a file, in the place of an earlier one of the same case."""
    records = json.loads(path.read_text()) if path.is_file() else []
    records = [record for record in records if {name: record[name] for name in key} != key]
    records = sorted([*records, {**key, **values}], key=lambda record: record["name"])
    lines = ",\n".join(" " + json.dumps(record) for record in records)
    path.write_text(f"[\n{lines}\n]\n")


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
