"""Reliability of a comparison: spread of Δm over seeds and over images, ranks between seeds, and trivial guesses.

Reads a results folder with several seeds, as `harness run -m ... --seed 0 1 2` fills it, and prints for every data set
1. the mean of Δm over the seeds, its standard deviation, and half of the 95 % interval over images of each seed's,
2. Kendall's tau between the rankings by Δm of every two seeds, over the methods that all seeds have,
3. the tasks on which a method is less than 15 % better than a guess without a network (benchmarks/trivial_guesses.py).

Usage: python benchmarks/comparison.py RESULTS
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import kendalltau

from harness.records import Record
from harness.records.gain import gained
from harness.records.load import Stored, find_stored
from harness.records.reference import with_gains
from harness.report.intervals import Intervals, NoIntervalError

FLOORS: Mapping[str, Mapping[str, float]] = {
    "nyud-synth": {"semseg": 0.0106, "depth": 0.9748, "normals": 46.5406, "boundary": 0.4938},
    "pascal-synth": {"semseg": 0.0355, "parts": 0.1218, "saliency": 0.2315, "normals": 45.1338, "boundary": 0.6722},
}
"""Headline values of the guesses on the default scenes, by `trivial_guesses.py`."""

MARGIN = 0.15


def row_of(record: Record) -> str:
    """Return a method with what tells its rows apart."""
    options = ",".join(f"{key}={value}" for key, value in sorted(record.method.options.items()) if key == "engine")
    return " ".join(part for part in (record.method.name, record.method.backbone, options) if part)


def missed(record: Record, floors: Mapping[str, float]) -> list[str]:
    """Return the tasks on which a record is not clearly better than a guess, with both values."""
    found = []
    for task, metrics in record.metrics.items():
        metric = next(iter(metrics.values()))
        if metric.value is None or task not in floors:
            continue
        better = metric.value / floors[task] - 1 if metric.higher_is_better else 1 - metric.value / floors[task]
        if better < MARGIN:
            found.append(f"{task} {metric.value:.3f} ({100 * better:+.0f} %)")
    return found


def show(name: str, stored: list[Stored]) -> None:
    """Print what is known of one data set."""
    records = with_gains([one.record for one in stored])
    stored = [Stored(record, one.path) for record, one in zip(records, stored, strict=True)]
    intervals = Intervals(stored)
    rows: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        if gained(record):
            rows[row_of(record)][record.seed or 0] = record
    print(f"\n{name}\n{'method':34} {'Δm':>7} {'seeds':>6}   of each seed, ± half of the 95 % interval over images")
    for row, seeds in sorted(rows.items()):
        values, texts = [], []
        for seed, record in sorted(seeds.items()):
            if record.delta_m is None or record.delta_m.value is None:
                texts.append(f"{seed}: none")
                continue
            values.append(record.delta_m.value)
            try:
                found = intervals.gain(record).interval()
                texts.append(f"{values[-1]:+.2f}±{found.half:.2f}" if found else f"{values[-1]:+.2f}")
            except NoIntervalError as error:
                texts.append(f"{values[-1]:+.2f} ({error})")
        spread = f"±{stdev(values):.2f}" if len(values) > 1 else "–"
        print(f"{row:34} {fmean(values) if values else float('nan'):+7.2f} {spread:>6}   {'  '.join(texts)}")
    gains = {
        row: {seed: record.delta_m.value for seed, record in seeds.items() if record.delta_m is not None}
        for row, seeds in rows.items()
        if not row.startswith("single-task")
    }
    for one, other in combinations(sorted({seed for seeds in gains.values() for seed in seeds}), 2):
        both = [row for row, seeds in gains.items() if None not in (seeds.get(one), seeds.get(other))]
        tau = kendalltau([gains[row][one] for row in both], [gains[row][other] for row in both]).statistic
        print(f"Kendall's tau of seeds {one} and {other}: {tau:.2f} over {len(both)} methods")
    for row, seeds in sorted(rows.items()):
        for seed, record in sorted(seeds.items()):
            if tasks := missed(record, FLOORS.get(name, {})):
                print(f"less than 15 % better than a guess: {row}, seed {seed}: {', '.join(tasks)}")


def main() -> None:
    """Print one block per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of records")
    sets: dict[str, list[Stored]] = defaultdict(list)
    for one in find_stored(parser.parse_args().results):
        if one.record.metrics:
            sets[one.record.dataset.name].append(one)
    for name, stored in sorted(sets.items()):
        show(name, stored)


if __name__ == "__main__":
    main()
