"""MACs of a method: the project's own count, and the counts of other libraries for comparison."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.compute import Compute
from harness.counting import MacReport, count_macs
from harness.method import Method, MultiTaskModel, accounting_of
from harness.probes.counters import disagreements, library_counts
from harness.records.costs import Macs, Spread

__all__ = ["disagreements", "library_counts", "measure_macs"]


def measure_macs(method: Method, model: MultiTaskModel, images: Iterable[Tensor], compute: Compute) -> Macs:
    """Count the MACs of a method, image by image.

    The tasks one by one are counted on every image where the method depends on the image, else on the first alone.
    The libraries count the first image.

    Args:
        method: Its own account of a forward pass is what counts.
        model: Of this method; it is counted in evaluation mode, and left in it.
        images: Each [1, 3, H, W] on the model's device; at least one.
        compute: Arithmetic of the pass; gates that compare with a threshold decide by it.
    """
    reports: list[MacReport] = []
    alone: list[dict[str, int]] = []
    first: Tensor | None = None
    accounting = accounting_of(method)
    model.eval()
    with torch.inference_mode(), compute.autocast():
        for image in images:
            reports.append(accounting.macs(model, image))
            if first is None or accounting.data_dependent:
                alone.append({task: _macs_of(model, image, task) for task in model.problem.names})
            first = image if first is None else first
    if first is None:
        raise ValueError("no image to count on")
    return Macs(
        dense=Spread.of([report.dense for report in reports]),
        ideal=_spread([report.ideal for report in reports]),
        executed=Spread.of([report.executed.macs for report in reports]),
        simulated=_spread([report.simulated for report in reports]),
        per_part=_means([report.executed.per_part for report in reports]),
        per_task=_means(alone),
        unseen=_total([report.executed.unseen for report in reports]),
        elementwise_outputs=float(np.mean([report.executed.elementwise_outputs for report in reports])),
        counters=library_counts(model, first, compute),
    )


def _macs_of(model: MultiTaskModel, image: Tensor, task: str) -> int:
    return count_macs(lambda: model(image, [task])).macs


def _spread(values: Sequence[int | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if len(known) == len(values) else None


def _total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _means(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """The mean of every key; a count that lacks it had nothing of it."""
    keys = dict.fromkeys(key for count in counts for key in count)
    return {key: sum(count.get(key, 0) for count in counts) / len(counts) for key in keys}
