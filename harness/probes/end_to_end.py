"""Throughput from stored images to predictions in host memory."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from harness.data.sample import Batch
from harness.method import Predictions
from harness.probes.timing import Clock
from harness.records.costs import EndToEnd

IMAGES = 64
"""Images that are timed, at most: the point is loading, which takes the same time for every method."""

SECONDS = 10.0
"""Time after which fewer images are enough."""


def measure_end_to_end(
    batches: Iterable[Batch],
    forward: Callable[[Tensor], Predictions],
    device: torch.device,
    *,
    now: Clock = time.perf_counter,
) -> EndToEnd:
    """Time loading, transfer, forward passes and the way back, one batch after the other as an evaluation does it.

    The first batch warms up, where there is a second one.

    Args:
        batches: Batches as they are loaded.
        forward: Images [B, 3, H, W] on the device to raw maps by task.
        device: Where it runs.
        now: The clock.
    """
    # Marks of the clock around the batches, and the images of each.
    marks, counts = [now()], []
    for batch in batches:
        for raw in forward(batch.images.to(device)).values():
            raw.cpu()  # waits for the device
        marks.append(now())
        counts.append(len(batch.ids))
        if sum(counts) >= IMAGES or (len(counts) > 1 and marks[-1] - marks[0] >= SECONDS):
            break
    if not counts:
        return EndToEnd(images_per_second=None, reason="the split holds no image")
    # The first batch pays for worker start and first kernels.
    warm = 1 if len(counts) > 1 else 0
    images = sum(counts[warm:])
    return EndToEnd(images_per_second=images / (marks[-1] - marks[warm]), images=images)
