"""Time that the engines of the sharing method save: a whole network against four single nets with the same heads.

All variants take turns, in alternating order, and the CPU time of the one thread is taken; ratios are medians over
rounds. An untrained network with realistic sparsity is as fast as a trained one. Prints for each fraction of tokens the
ratio of the MACs, the speed-up, how much of the first the second reaches, and what one sub-task encoder takes beyond
its MACs, in encoders; then a head in place and by chunks against the plain one.

    OMP_NUM_THREADS=1 python benchmarks/engine.py [--backbone vit-b16] [--size 448x576] [--rounds 9] [--record FILE]
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from beside_plain import NYUD, processor
from torch import Tensor

from harness.backbones.vit import ViTEncoder
from harness.baselines.single_task import SeparateNets, SingleNet
from harness.counting import count_macs
from harness.heads import convnext
from harness.methods.share.delta import SparseTensor, StoredDelta
from harness.methods.share.encoder import FunctionalViT, differing_names
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.problem import Problem

Call = Callable[[], object]


def shared(problem: Problem, backbone: str, options: ShareOptions) -> SharedNets:
    """Return an untrained network whose sub-tasks differ from the base in every twelfth weight."""
    torch.manual_seed(0)
    base = ViTEncoder(backbone, problem.input_size)
    weights = dict(base.vit.named_parameters())
    names = differing_names(FunctionalViT(base), options.shared_blocks, shared_embedding=options.engine != "paper")

    def difference() -> StoredDelta:
        places = {name: torch.arange(0, weights[name].numel(), 12) for name in names}
        return StoredDelta(
            {
                name: SparseTensor(weights[name].shape, index, 0.01 * torch.randn(len(index)))
                for name, index in places.items()
            }
        )

    deltas = {task: difference() for task in problem.names if task != options.base_task}
    return SharedNets(problem, base, deltas, options).eval()


def interleaved(calls: Mapping[str, Call], rounds: int) -> dict[str, np.ndarray]:
    """Return the CPU seconds of every call in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-1, rounds):  # the first round stacks weights and fills caches
        for name in calls if number % 2 else reversed(calls):
            start = time.thread_time()
            calls[name]()
            if number >= 0:
                seconds[name].append(time.thread_time() - start)
    return {name: np.array(taken) for name, taken in seconds.items()}


def median(values: np.ndarray) -> float:
    """Return the median over rounds."""
    return round(float(np.median(values)), 4)


def whole_networks(
    problem: Problem, backbone: str, fractions: list[float], rounds: int, paper: bool
) -> list[dict[str, object]]:
    """Return the rows of whole networks and of their sub-task encoders."""
    images = torch.randn(1, 3, *problem.input_size)
    model = shared(problem, backbone, ShareOptions(engine="tokens"))
    nets = {task.name: SingleNet(task, copy.deepcopy(model.base), problem.input_size) for task in problem}
    single = SeparateNets(problem, nets).eval()

    def tokens(fraction: float, keys: str, forward: Callable[[SharedNets], object]) -> Call:
        def call() -> object:
            model.gates = {task: model.uniform_gates(fraction) for task in model.deltas}
            with model.executed_as(keys=keys):
                return forward(model)

        return call

    settings = [(fraction, keys) for fraction in fractions for keys in ("base", "own")]
    calls: dict[str, Call] = {"single": lambda: single(images), "encoder": lambda: model.encode(images, ["semseg"])}
    for fraction, keys in settings:
        calls[f"tokens {fraction} {keys}"] = tokens(fraction, keys, lambda model: model(images))
        calls[f"encoders {fraction} {keys}"] = tokens(fraction, keys, lambda model: model.encode(images, problem.names))
    if paper:
        gated = shared(problem, backbone, ShareOptions())

        def gates(fraction: float) -> Call:
            def call() -> object:
                gated.gates = {task: gated.uniform_gates(fraction) for task in gated.deltas}
                return gated(images)

            return call

        calls |= {f"paper {fraction}": gates(fraction) for fraction in fractions}
    calls["ceiling"] = tokens(0.0, "base", lambda model: model(images))
    with torch.inference_mode():
        for call in calls.values():
            call()
        macs = {name: count_macs(call).macs for name, call in calls.items()}
        taken = interleaved(calls, rounds)
    rows = []
    for name in calls:
        if name.startswith(("tokens", "paper", "ceiling")):
            saved, faster = macs["single"] / macs[name], median(taken["single"] / taken[name])
            row: dict[str, object] = {"engine": name, "macs": round(saved, 3), "time": faster}
            row |= {"time_of_minima": round(float(taken["single"].min() / taken[name].min()), 3)}
            row |= {"reached": round(faster / saved, 3)}
            if (encoders := name.replace("tokens", "encoders")) in taken and encoders != name:
                count = len(model.deltas)
                part = (macs[encoders] - macs["encoder"]) / count / macs["encoder"]
                own = (taken[encoders] - taken["encoder"]) / count / taken["encoder"]
                row |= {"sub_macs": round(part, 4), "sub_time": median(own), "sub_beyond": median(own - part)}
            rows.append(row)
    # h = H / E: the time of all heads in encoders, which bounds what sharing can save
    rows.append({"engine": "heads", "in_encoders": median(taken["single"] / taken["encoder"] - len(problem.names))})
    return rows


def heads(problem: Problem, backbone: str, rounds: int) -> list[dict[str, object]]:
    """Return the time of every head in place and by chunks, relative to the plain one."""
    encoder = ViTEncoder(backbone, problem.input_size)
    features = torch.randn(1, encoder.channels, *encoder.grid)
    rows = []
    for task in problem:
        head = convnext.task_head(task, encoder.channels, problem.input_size, encoder.cells).eval()

        def plain(head: torch.nn.Module = head) -> Tensor:
            with mock.patch.object(convnext, "_in_place", return_value=False):
                result: Tensor = head(features)
                return result

        with torch.inference_mode():
            difference = float((head(features) - plain()).abs().max() / plain().abs().max())
            taken = interleaved({"plain": plain, "chunks": lambda head=head: head(features)}, rounds)
        ratio = median(taken["chunks"] / taken["plain"])
        rows.append({"head": task.name, "time_of_plain": ratio, "relative_difference": difference})
    return rows


def main() -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit-b16")
    parser.add_argument("--size", default="448x576", help="HEIGHTxWIDTH")
    parser.add_argument("--fractions", default="0.1,0.2", help="fractions of active tokens, separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--paper", action="store_true", help="time the gates of every block, too")
    parser.add_argument("--record", type=Path, help="file to which the results are added")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, arguments.size.split("x"))
    problem = Problem(NYUD, (height, width))
    fractions = [float(fraction) for fraction in arguments.fractions.split(",")]
    rows = heads(problem, arguments.backbone, arguments.rounds)
    rows += whole_networks(problem, arguments.backbone, fractions, arguments.rounds, arguments.paper)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if arguments.record is not None:
        records = json.loads(arguments.record.read_text()) if arguments.record.is_file() else []
        key = {"backbone": arguments.backbone, "size": arguments.size, "threads": 1}
        records = [record for record in records if {name: record[name] for name in key} != key]
        machine = {"processor": processor(), "torch": torch.__version__, "rounds": arguments.rounds}
        records.append(key | machine | {"rows": rows})
        arguments.record.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
