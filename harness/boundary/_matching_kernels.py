"""Pixel loops of the matcher.

Pixels are positions in the image with a rim (`harness.boundary.thinning.Flat`); ``mate[p]`` is the partner of
pixel p on the other side, or -1. Sets that a search takes pixels from are bit images, uint64 [rows, words]:
a row of a disc is then tested in one or two operations, and a pixel that was taken costs nothing afterwards.
"""

import numpy as np
from numpy.typing import NDArray

from harness.boundary._jit import kernel
from harness.boundary.thinning import Flat

Bits = NDArray[np.uint64]

_ONE, _TWO, _ALL = np.uint64(1), np.uint64(2), np.uint64(0xFFFFFFFFFFFFFFFF)
# Leiserson, Prokop and Randall (1998): the top six bits of sequence << k name k.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT_OF = np.zeros(64, dtype=np.int64)
for _k in range(64):
    _BIT_OF[((0x03F79D71B4CB0A89 << _k) & 0xFFFFFFFFFFFFFFFF) >> 58] = _k


@kernel
def to_bits(pixels: Flat, rows: int, stride: int) -> Bits:
    """Return the set of ``pixels`` as a bit image."""
    bits = np.zeros((rows, (stride + 63) >> 6), dtype=np.uint64)
    for p in pixels:
        y = p // stride
        x = p - y * stride
        bits[y, x >> 6] |= _ONE << np.uint64(x & 63)
    return bits


@kernel
def _span(low: int, high: int, word: int) -> np.uint64:
    """Return the bits of ``word`` that lie in columns low to high; at least one must."""
    first = max(low - (word << 6), 0)
    last = min(high - (word << 6), 63)
    return ((_TWO << np.uint64(last - first)) - _ONE) << np.uint64(first)


@kernel
def grow(pixels: Flat, rows: int, stride: int, half: Flat) -> NDArray[np.uint8]:
    """Return the union of the discs around ``pixels`` as a flat uint8 image."""
    reach = half.size // 2
    union = np.zeros((rows, stride), dtype=np.uint8)
    for p in pixels:
        y = p // stride
        x = p - y * stride
        for row in range(max(0, y - reach), min(rows, y + reach + 1)):
            w = half[row - y + reach]
            union[row, max(0, x - w) : min(stride, x + w + 1)] = 1
    return union.ravel()


@kernel
def near(pixels: Flat, targets: Bits, stride: int, half: Flat) -> NDArray[np.bool_]:
    """Tell which ``pixels`` have a target inside the disc around them.

    Args:
        pixels: Positions.
        targets: Bit image.
        stride: Width of the image with its rim.
        half: Half width of the disc in each of its rows, [2*reach+1].
    """
    reach = half.size // 2
    found = np.zeros(pixels.size, dtype=np.bool_)
    for i in range(pixels.size):
        y = pixels[i] // stride
        x = pixels[i] - y * stride
        for row in range(max(0, y - reach), min(targets.shape[0], y + reach + 1)):
            w = half[row - y + reach]
            low, high = max(0, x - w), min(stride - 1, x + w)
            for word in range(low >> 6, (high >> 6) + 1):
                if targets[row, word] & _span(low, high, word):
                    found[i] = True
            if found[i]:
                break
    return found


@kernel
def release(pixels: Flat, kept: NDArray[np.uint8], mate: Flat, mate_of_target: Flat) -> None:
    """Part the pairs of those ``pixels`` that are not ``kept`` (uint8 image)."""
    for p in pixels:
        if kept[p] == 0 and mate[p] >= 0:
            mate_of_target[mate[p]] = -1
            mate[p] = -1


@kernel
def pair_nearest(
    pixels: Flat, is_target: NDArray[np.uint8], mate: Flat, mate_of_target: Flat, stride: int, disc: Flat
) -> None:
    """Pair free pixels with free targets, the nearest pairs first.

    Args:
        pixels: Positions to pair.
        is_target: uint8 image of the other side.
        mate: Partners of the pixels; changed.
        mate_of_target: Partners of the targets; changed.
        stride: Width of the image with its rim.
        disc: Offsets (dy, dx) by ascending distance, [n, 2].
    """
    rows = is_target.size // stride
    waiting = pixels.copy()
    count = waiting.size
    for k in range(disc.shape[0]):
        dy, dx = disc[k]
        left = 0
        for p in waiting[:count]:
            y = p // stride + dy
            x = p - p // stride * stride + dx
            target = y * stride + x
            inside = 0 <= y < rows and 0 <= x < stride
            if inside and is_target[target] != 0 and mate_of_target[target] < 0:
                mate[p] = target
                mate_of_target[target] = p
            else:
                waiting[left] = p
                left += 1
        count = left


@kernel
def _reach_out(
    p: int, free_or_mate: Flat, untouched: Bits, parent: Flat, queue: Flat, tail: int, stride: int, half: Flat
) -> tuple[int, int]:
    """Take every untouched target around ``p`` into its tree, up to the first free one.

    Returns:
        The free target or -1, and the new end of the queue.
    """
    reach = half.size // 2
    y = p // stride
    x = p - y * stride
    for row in range(max(0, y - reach), min(untouched.shape[0], y + reach + 1)):
        w = half[row - y + reach]
        low, high = max(0, x - w), min(stride - 1, x + w)
        for word in range(low >> 6, (high >> 6) + 1):
            bits = untouched[row, word] & _span(low, high, word)
            while bits:
                bit = bits & (~bits + _ONE)
                bits ^= bit
                untouched[row, word] ^= bit
                target = row * stride + (word << 6) + _BIT_OF[np.int64((bit * _DE_BRUIJN) >> np.uint64(58))]
                parent[target] = p
                if free_or_mate[target] < 0:
                    return target, tail
                queue[tail] = free_or_mate[target]
                tail += 1
    return -1, tail


@kernel
def augment(
    roots: Flat, mate: Flat, mate_of_target: Flat, targets: Bits, stride: int, half: Flat, scratch: Flat
) -> int:
    """Enlarge a matching until it is maximum.

    Each phase grows one alternating tree from every free root, breadth first over disjoint sets of targets.
    A tree that meets a free target stops and its path is flipped. A phase in which no tree meets one proves
    by Berge's theorem that no augmenting path is left.

    Args:
        roots: All pixels of one side that may be free.
        mate: Partners on the side of the roots; changed.
        mate_of_target: Partners on the other side; changed.
        targets: Bit image of the other side.
        stride: Width of the image with its rim.
        half: Half width of the disc in each of its rows, [2*reach+1].
        scratch: int32 [4, pixels of the image with its rim].

    Returns:
        Number of pairs gained.
    """
    parent, tree, leaf, queue = scratch[0], scratch[1], scratch[2], scratch[3]
    gained = 0
    while True:
        untouched = targets.copy()
        starts = 0
        for p in roots:
            if mate[p] < 0:
                queue[starts] = p
                tree[p] = p
                leaf[p] = -1
                starts += 1
        head, tail = 0, starts
        found = 0
        while head < tail:
            p = queue[head]
            head += 1
            root = tree[p]
            if leaf[root] >= 0:
                continue
            free, end = _reach_out(p, mate_of_target, untouched, parent, queue, tail, stride, half)
            for k in range(tail, end):
                tree[queue[k]] = root
            tail = end
            if free >= 0:
                leaf[root] = free
                found += 1
        if found == 0:
            return gained
        gained += found
        for root in queue[:starts]:
            target = leaf[root]
            while target >= 0:
                p = parent[target]
                following = mate[p]
                mate[p] = target
                mate_of_target[target] = p
                target = following
