"""Counts of labels against predictions on the CPU, in one pass over the predictions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.jit import kernel

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 4096
"""Pixels whose best scores stay in the cache of a core while the channels stream by."""


def tally(scores: Tensor, target: Tensor, labels: int) -> Tensor:
    """Count how often each label meets each predicted class, the class of the largest score, the first of equal ones.

    The scores are read once, and nothing of their size is written: several times faster than an argmax over a strided
    dimension followed by a histogram.

    Args:
        scores: [B, C, H, W], float32 on the CPU.
        target: [B, H, W], whole numbers below ``labels``.
        labels: Number of values a label can take.

    Returns:
        int64 [B, labels, C].
    """
    values = scores.reshape(scores.shape[0], scores.shape[1], -1).numpy()
    return _counted(partial(_tally, values), target, labels, scores.shape[1])


def tally_bins(values: Tensor, target: Tensor, edges: Tensor, labels: int) -> Tensor:
    """Count how often each label meets each bin; a value is in bin k if it reaches k of the edges.

    Args:
        values: [B, H, W], float32 on the CPU.
        target: [B, H, W], whole numbers below ``labels``.
        edges: Ascending, float32 [K].
        labels: Number of values a label can take.

    Returns:
        int64 [B, labels, K + 1].
    """
    flat = values.reshape(values.shape[0], -1).numpy()
    return _counted(partial(_tally_bins, edges.numpy(), flat), target, labels, len(edges) + 1)


def _counted(kernel: Callable[..., None], target: Tensor, labels: int, columns: int) -> Tensor:
    """Run a kernel over ranges of pixels, one per thread of torch, and add up what they count."""
    truth = target.reshape(target.shape[0], -1).float().numpy()
    threads = torch.get_num_threads()
    edges = np.linspace(0, truth.shape[1], threads + 1).astype(int).tolist()
    counts = np.zeros((threads, truth.shape[0], labels, columns), np.int64)
    if threads == 1:
        kernel(truth, *edges, counts[0])
    else:
        list(_pool(threads).map(kernel, repeat(truth), edges, edges[1:], counts))
    return torch.from_numpy(counts.sum(0))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tally")


@kernel
def _tally(scores: Floats, target: Floats, start: int, stop: int, counts: Integers) -> None:
    best = np.empty(BLOCK, np.float32)
    label = np.empty(BLOCK, np.float32)  # as wide as a score, so that both move in one vector
    for image in range(scores.shape[0]):
        for first in range(start, stop, BLOCK):
            size = min(BLOCK, stop - first)
            best[:size] = scores[image, 0, first : first + size]
            label[:size] = 0
            for channel in range(1, scores.shape[1]):
                row = scores[image, channel, first : first + size]
                this = np.float32(channel)
                for i in range(size):
                    score, before = row[i], best[i]
                    label[i] = this if score > before else label[i]
                    best[i] = score if score > before else before
            for i in range(size):
                counts[image, int(target[image, first + i]), int(label[i])] += 1


@kernel
def _tally_bins(edges: Floats, values: Floats, target: Floats, start: int, stop: int, counts: Integers) -> None:
    reached = np.empty(BLOCK, np.float32)
    for image in range(values.shape[0]):
        for first in range(start, stop, BLOCK):
            size = min(BLOCK, stop - first)
            row = values[image, first : first + size]
            reached[:size] = 0
            for edge in edges:
                for i in range(size):
                    reached[i] += np.float32(1) if row[i] >= edge else np.float32(0)
            for i in range(size):
                counts[image, int(target[image, first + i]), int(reached[i])] += 1
