"""The confusion counts of a batch on the CPU, in one pass over the scores."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

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
    batch, channels = scores.shape[:2]
    pixels = scores[0, 0].numel()
    values = scores.reshape(batch, channels, pixels).numpy()
    truth = target.reshape(batch, pixels).float().numpy()
    threads = torch.get_num_threads()
    edges = np.linspace(0, pixels, threads + 1).astype(int)
    counts = np.zeros((threads, batch, labels, channels), np.int64)

    def part(index: int) -> None:
        for image in range(batch):
            _tally(values[image], truth[image], edges[index], edges[index + 1], counts[index, image])

    if threads == 1:
        part(0)
    else:
        list(_pool(threads).map(part, range(threads)))
    return torch.from_numpy(counts.sum(0))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tally")


@njit(nogil=True, cache=True)
def _tally(
    scores: NDArray[np.float32], target: NDArray[np.float32], start: int, stop: int, counts: NDArray[np.int64]
) -> None:
    best = np.empty(BLOCK, np.float32)
    label = np.empty(BLOCK, np.float32)  # as wide as a score, so that both move in one vector
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        best[:size] = scores[0, first : first + size]
        label[:size] = 0
        for channel in range(1, scores.shape[0]):
            row = scores[channel, first : first + size]
            this = np.float32(channel)
            for i in range(size):
                score, before = row[i], best[i]
                label[i] = this if score > before else label[i]
                best[i] = score if score > before else before
        for i in range(size):
            counts[int(target[first + i]), int(label[i])] += 1
