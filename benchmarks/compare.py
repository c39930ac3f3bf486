"""Whether the regression gate's test of latencies can be trusted on this machine.

Repeats one short ``harness bench`` beside busy processes, and compares each repeat with the one before. Nothing has
changed, so nothing may fail. Then the samples of a method are made longer in one repeat of each pair, which must be
found. Prints every ratio, how often the gate failed, and by how much repeats differ beyond what their rounds tell.

    python benchmarks/compare.py [--pairs 20] [--load 1] [--slowdown 0.15] [--keep FOLDER]
"""

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from latency import background

from harness.compare import Entry, Figure, Tolerances, compare, load
from harness.compare.slowdown import paired_log_ratios
from harness.records.costs import Latency

METHODS = ("single-task", "multi-task")
BENCH = (
    *("-m", *METHODS, "-d", "nyud-synth", "-b", "vit-micro", "--input-size", "56x72", "--device", "cpu"),
    *("--probe", "latency", "--min-seconds", "4", "--max-seconds", "6", "--quiet"),
)
SLOWED = METHODS[1]


def sessions(count: int, folder: Path) -> Iterator[list[Entry]]:
    """Yield the records of so many repeats of one bench; those that are there already are read."""
    for index in range(count):
        output = folder / str(index)
        if not output.is_dir():
            command = [sys.executable, "-m", "harness", "bench", *BENCH, "-o", str(output)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield load("repeat", output)[0]


def latencies(base: list[Entry], head: list[Entry]) -> dict[str, Figure]:
    """Return the compared latencies by row; the reference has none."""
    rows = compare(base, head, Tolerances.parse(["latency=5%"])).rows
    found = {row.label: next(figure for figure in row.figures if figure.kind == "latency") for row in rows}
    return {label: figure for label, figure in found.items() if not label.startswith(METHODS[0])}


def slowed(entries: list[Entry], factor: float) -> list[Entry]:
    """Return records in which the samples of one method are longer by a factor."""
    changed = []
    for entry in entries:
        record = entry.record.model_copy(deep=True)
        if record.method.name == SLOWED:
            for latency in record.latency:
                latency.samples_ms = [factor * sample for sample in latency.samples_ms]
        changed.append(Entry(record, entry.path))
    return changed


def excess(entries: list[list[Entry]], method: str) -> float:
    """Return the deviation of the log ratios of repeats that the deviation within them does not explain."""
    middles, errors = [], []
    for side in entries:
        one, reference = (_latency(side, name) for name in (method, METHODS[0]))
        values = paired_log_ratios(one, reference)
        middles.append(np.median(values))
        errors.append(1.57 * np.var(values, ddof=1) / len(values))  # of a median of normal values: pi / 2
    return float(np.sqrt(max(0.0, np.var(middles, ddof=1) - np.mean(errors))))


def _latency(side: list[Entry], method: str) -> Latency:
    return next(entry.record.latency[0] for entry in side if entry.record.method.name == method)


def main() -> None:
    """Print what the gate says of repeats, and of a planted slowdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="pairs of repeats (default 20)")
    parser.add_argument("--load", type=int, default=1, help="background processes (default 1)")
    parser.add_argument("--slowdown", type=float, default=0.15, help="planted slowdown (default 0.15)")
    parser.add_argument("--keep", type=Path, help="folder for the records; repeats that it holds are not run again")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with background(arguments.load):
            repeats = list(sessions(arguments.pairs + 1, folder))
        pairs = list(itertools.pairwise(repeats))
        fired = judged = found = 0
        for number, (base, head) in enumerate(pairs):
            figures = latencies(base, head)
            for label, figure in figures.items():
                told = figure.slowdown
                text = f"{told.ratio:.3f} [{told.low:.3f}, {told.high:.3f}]" if told else figure.reason
                print(f"  {number:2d} {label}: {figure.verdict} {text}")
            fired += any(figure.verdict == "regressed" for figure in figures.values())
            judged += all(figure.slowdown is not None for figure in figures.values())
            planted = latencies(base, slowed(head, 1 + arguments.slowdown))
            found += any(f.verdict == "regressed" for label, f in planted.items() if label.startswith(SLOWED))
    print(f"failed on {fired} of {len(pairs)} pairs of repeats (must be none); {judged} could be judged")
    print(f"found {arguments.slowdown:.0%} in {found} of the {judged}")
    for method in METHODS[1:]:
        print(f"deviation of {method} between repeats, beyond that of rounds: {excess(repeats, method):.1%}")


if __name__ == "__main__":
    main()
