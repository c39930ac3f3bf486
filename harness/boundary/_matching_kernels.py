"""Pixel loops of the matcher.

Pixels are numbered by tiles of 8x8 (`harness.boundary.matching`), and a set of pixels is one 64-bit word per tile.
A search then sees all it has not yet taken of a disc in about nine operations, and never meets a pixel twice.
``mate[c]`` is the partner of cell c on the other side, or -1.
"""

import numpy as np
from numpy.typing import NDArray

from harness.jit import kernel

Cells = NDArray[np.int32]
Bits = NDArray[np.uint64]

_ONE = np.uint64(1)
# Leiserson, Prokop and Randall (1998): the top six bits of (1 << k) * sequence name k.
_DE_BRUIJN = 0x03F79D71B4CB0A89
_SEQUENCE = np.uint64(_DE_BRUIJN)
_LOWEST = np.zeros(64, dtype=np.int64)
for _k in range(64):
    _LOWEST[(_DE_BRUIJN << _k & 0xFFFFFFFFFFFFFFFF) >> 58] = _k


@kernel
def to_bits(cells: Cells, tiles: int) -> Bits:
    """Return the set of ``cells``."""
    bits = np.zeros(tiles, dtype=np.uint64)
    for c in cells:
        bits[c >> 6] |= _ONE << np.uint64(c & 63)
    return bits


@kernel
def contains(bits: Bits, cells: Cells) -> NDArray[np.bool_]:
    """Tell which ``cells`` are in the set ``bits``."""
    found = np.empty(cells.size, dtype=np.bool_)
    for i in range(cells.size):
        found[i] = (bits[cells[i] >> 6] >> np.uint64(cells[i] & 63)) & _ONE
    return found


@kernel
def grow(cells: Cells, tiles: int, steps: Cells, masks: Bits) -> Bits:
    """Return the union of the discs around ``cells``."""
    bits = np.zeros(tiles, dtype=np.uint64)
    for c in cells:
        for k in range(steps.size):
            bits[(c >> 6) + steps[k]] |= masks[c & 63, k]
    return bits


@kernel
def near(cells: Cells, targets: Bits, steps: Cells, masks: Bits) -> NDArray[np.bool_]:
    """Tell which ``cells`` have one of ``targets`` inside their disc."""
    found = np.zeros(cells.size, dtype=np.bool_)
    for i in range(cells.size):
        for k in range(steps.size):
            if targets[(cells[i] >> 6) + steps[k]] & masks[cells[i] & 63, k]:
                found[i] = True
                break
    return found


@kernel
def release(cells: Cells, kept: Bits, mate: Cells, mate_of_target: Cells) -> None:
    """Part the pairs of those ``cells`` that are not in ``kept``."""
    for c in cells:
        if mate[c] >= 0 and not (kept[c >> 6] >> np.uint64(c & 63)) & _ONE:
            mate_of_target[mate[c]] = -1
            mate[c] = -1


@kernel
def pair_nearest(cells: Cells, free: Bits, mate: Cells, mate_of_target: Cells, across: int, disc: Cells) -> None:
    """Pair free cells with free targets, the nearest pairs first.

    Args:
        cells: Cells to pair.
        free: Targets to pair them with; changed.
        mate: Partners of the cells; changed.
        mate_of_target: Partners of the targets; changed.
        across: Number of tiles in a row.
        disc: Offsets (dy, dx) by ascending distance, [n, 2].
    """
    waiting = cells.copy()
    count = waiting.size
    for k in range(disc.shape[0]):
        left = 0
        for c in waiting[:count]:
            row = (c >> 6) // across
            y = (row << 3) + (c >> 3 & 7) + disc[k, 0]
            x = ((c >> 6) - row * across << 3) + (c & 7) + disc[k, 1]
            tile = (y >> 3) * across + (x >> 3)
            bit = (y & 7) << 3 | (x & 7)
            if (free[tile] >> np.uint64(bit)) & _ONE:
                free[tile] ^= _ONE << np.uint64(bit)
                mate[c] = tile << 6 | bit
                mate_of_target[tile << 6 | bit] = c
            else:
                waiting[left] = c
                left += 1
        count = left


@kernel
def _reach_out(
    c: int, mate_of_target: Cells, untouched: Bits, parent: Cells, queue: Cells, tail: int, steps: Cells, masks: Bits
) -> tuple[int, int]:
    """Take every untouched target around cell ``c`` into its tree, up to the first free one.

    Returns:
        The free target or -1, and the new end of the queue.
    """
    for k in range(steps.size):
        tile = (c >> 6) + steps[k]
        bits = untouched[tile] & masks[c & 63, k]
        while bits:
            bit = bits & (~bits + _ONE)  # the lowest bit that is set
            bits ^= bit
            untouched[tile] ^= bit
            # Its number, by a de Bruijn sequence: one multiplication instead of a loop.
            target = tile << 6 | _LOWEST[np.int64((bit * _SEQUENCE) >> np.uint64(58))]
            parent[target] = c
            if mate_of_target[target] < 0:
                return target, tail
            queue[tail] = mate_of_target[target]
            tail += 1
    return -1, tail


@kernel
def augment(
    roots: Cells, mate: Cells, mate_of_target: Cells, targets: Bits, steps: Cells, masks: Bits, scratch: Cells
) -> int:
    """Enlarge a matching until it is maximum.

    Each phase grows one alternating tree from every free root, breadth first, over disjoint sets of targets.
    A tree that meets a free target stops and its path is flipped. A phase in which no tree meets one proves by
    Berge's theorem that no augmenting path is left.

    Args:
        roots: All cells of one side that may be free.
        mate: Partners on the side of the roots; changed.
        mate_of_target: Partners on the other side; changed.
        targets: All cells of the other side.
        steps: Tiles that a disc touches, relative to its own, [n].
        masks: The part of a disc in each of these tiles, by the place of its centre, [64, n].
        scratch: int32 [4, cells].

    Returns:
        Number of pairs gained.
    """
    parent, tree, leaf, queue = scratch[0], scratch[1], scratch[2], scratch[3]
    gained = 0
    while True:
        # 1. A phase begins with the free roots; every target belongs to at most one tree of it.
        untouched = targets.copy()
        starts = 0
        for c in roots:
            if mate[c] < 0:
                queue[starts] = tree[c] = c
                leaf[c] = -1
                starts += 1
        # 2. Breadth first; a tree that has found a free target does not grow further.
        head, tail, found = 0, starts, 0
        while head < tail:
            c = queue[head]
            head += 1
            root = tree[c]
            if leaf[root] >= 0:
                continue
            free, end = _reach_out(c, mate_of_target, untouched, parent, queue, tail, steps, masks)
            for k in range(tail, end):
                tree[queue[k]] = root
            tail = end
            if free >= 0:
                leaf[root] = free
                found += 1
        if found == 0:
            return gained
        gained += found
        # 3. Flip the path of each tree that met a free target: every flip gains one pair.
        for root in queue[:starts]:
            target = leaf[root]
            while target >= 0:
                c = parent[target]
                following = mate[c]
                mate[c] = target
                mate_of_target[target] = c
                target = following
