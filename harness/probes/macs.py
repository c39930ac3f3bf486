"""MACs of a method: the project's own count, and the counts of other libraries for comparison."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from harness.compute import Compute
from harness.counting import MacReport, count_macs
from harness.method import Method, MultiTaskModel, accounting_of
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.probes.counters import disagreements, library_counts
from harness.records.costs import Macs, Spread

__all__ = ["disagreements", "fill_macs", "library_counts", "measure_macs"]


def fill_macs(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> list[str]:
    """Count on every image where the method depends on it, else on the first; return what the count leaves out."""
    count = None if accounting_of(candidate.method).data_dependent else 1
    images = (image.to(setting.compute.device) for image in islice(inputs.images(), count))
    macs = candidate.record.macs = measure_macs(candidate.method, model, images, setting.compute)
    first = inputs.first().to(setting.compute.device)
    with torch.inference_mode(), setting.compute.autocast():
        executed = count_macs(lambda: model(first)).macs  # the libraries saw the first image alone
    unsupported = [
        f"MACs leave out {calls} calls of {name}, for which there is no rule" for name, calls in macs.unseen.items()
    ]
    return [*unsupported, *disagreements(executed, macs.counters)]


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
                each = {task: partial(model, image, [task]) for task in model.problem.names}
                alone.append({task: count_macs(call).macs for task, call in each.items()})
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
        unseen=dict(sum((Counter(report.executed.unsupported) for report in reports), Counter())),
        elementwise_outputs=float(np.mean([report.executed.elementwise_outputs for report in reports])),
        counters=library_counts(model, first, compute),
    )


def _spread(values: Sequence[int | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if len(known) == len(values) else None


def _means(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Return the mean of every key; a count that lacks it had nothing of it."""
    keys = dict.fromkeys(key for count in counts for key in count)
    return {key: sum(count.get(key, 0) for count in counts) / len(counts) for key in keys}
