"""Boundary maps one pixel wide: thinning, and the true boundaries of a label map."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.jit import kernel

Flat = NDArray[np.int32]
"""Positions in an image with a rim of one pixel on every side, row by row."""

States = NDArray[np.uint16]
"""Every pixel of an image with a rim and its neighbours, as indices of the table of removable states."""


def _removable() -> NDArray[np.uint8]:
    """Tabulate which states let their pixel go, 0 or 1, [2 steps, 512].

    Guo and Hall's two-step parallel thinning in the form of Lam, Lee and Suen (PAMI 1992): conditions G1, G2 and,
    by step, G3 or G3'. Bit i of a state is neighbour x(i+1), from the east one counter-clockwise; bit 8 is the
    pixel itself.
    """
    # All 256 neighbourhoods at once, [256, 8].
    x = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool)
    x1, x2, x3, x4, x5, x6, x7, x8 = x.T
    odd, even, following = x[:, 0::2], x[:, 1::2], np.roll(x[:, 0::2], -1, axis=1)
    # G1: exactly one 0-to-1 crossing around the pixel, so that removing it disconnects nothing.
    crossings = (~odd & (even | following)).sum(axis=1)
    # G2: two or three neighbour pairs, so that no line end and no inner pixel goes.
    pairs = np.minimum((odd | even).sum(axis=1), (even | following).sum(axis=1))
    alike = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    # G3 in the first step and its mirror image G3' in the second, so that lines stay where they are.
    table = np.zeros((2, 512), dtype=np.uint8)
    table[0, 256:] = alike & ~((x2 | x3 | ~x8) & x1)
    table[1, 256:] = alike & ~((x6 | x7 | ~x4) & x5)
    return table


_REMOVABLE = _removable()


@kernel
def _toggle_in_neighbours(p: int, stride: int, states: States) -> None:
    """Enter or strike pixel ``p`` in the states of its neighbours."""
    states[p - 1] ^= np.uint16(1)  # p is x1, the eastern neighbour, of the pixel west of it
    states[p - 1 + stride] ^= np.uint16(2)
    states[p + stride] ^= np.uint16(4)
    states[p + 1 + stride] ^= np.uint16(8)
    states[p + 1] ^= np.uint16(16)
    states[p + 1 - stride] ^= np.uint16(32)
    states[p - stride] ^= np.uint16(64)
    states[p - 1 - stride] ^= np.uint16(128)


@kernel
def add_pixels(pixels: Flat, stride: int, states: States) -> None:
    """Set ``pixels`` in the image that `thin_pixels` works on."""
    for p in pixels:
        states[p] ^= np.uint16(256)
        _toggle_in_neighbours(p, stride, states)


@kernel
def thin_pixels(pixels: Flat, stride: int, states: States) -> Flat:
    """Thin an image until a step removes nothing and return the pixels that stay.

    The first two steps test every pixel. From then on a pixel can only have become removable when one of its
    neighbours went in the last two steps, so only these are tested.

    Args:
        pixels: Positions of all set pixels.
        stride: Width of the image with its rim.
        states: State of every pixel of the image with its rim; the same on return as on entry.
    """
    around = (-1 - stride, -stride, 1 - stride, -1, 1, -1 + stride, stride, 1 + stride)
    gone = np.empty(pixels.size + 1, dtype=np.int32)  # in the order of going, and one to write to in vain
    before = last = total = 0  # gone[before:last] went in the last step but one, gone[last:total] in the last
    step = 0
    while step == 0 or last < total:
        found = total
        removable = _REMOVABLE[step & 1]
        if step < 2:  # every pixel, without a branch: what stays is overwritten by the next
            for p in pixels:
                goes = removable[states[p]]
                states[p] ^= np.uint16(goes) << np.uint16(8)
                gone[found] = p
                found += goes
        else:  # only around what went since the same step before
            for q in gone[before:total]:
                for shift in around:
                    p = q + shift
                    if removable[states[p]]:
                        states[p] ^= np.uint16(256)
                        gone[found] = p
                        found += 1
        for p in gone[total:found]:  # not before all are found: a step removes its pixels at once
            _toggle_in_neighbours(p, stride, states)
        before, last, total = last, total, found
        step += 1
    # What stays, and the states as they were on entry.
    stay = np.empty(pixels.size + 1, dtype=np.int32)
    count = 0
    for p in pixels:
        stay[count] = p
        count += states[p] >> np.uint16(8)
    add_pixels(gone[:total], stride, states)
    return stay[:count]


def flatten(mask: NDArray[np.bool_]) -> Flat:
    """Return the positions of the set pixels of ``mask`` [h, w] in the image with a rim."""
    y, x = np.nonzero(mask)
    return np.asarray((y + 1) * (mask.shape[1] + 2) + x + 1, dtype=np.int32)


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin a binary map until a step removes nothing.

    This is where the Python port of the BSDS tools stops. MATLAB's ``bwmorph(mask, 'thin', inf)`` and
    scikit-image go on while either of two consecutive steps removes something. On ground truths and on
    suppressed maps there was no difference; a thick map can keep a few pixels more here.

    Args:
        mask: bool [h, w].

    Returns:
        bool [h, w], a subset of ``mask``.
    """
    stride = mask.shape[1] + 2
    pixels = flatten(mask)
    states = np.zeros((mask.shape[0] + 2) * stride, dtype=np.uint16)
    add_pixels(pixels, stride, states)
    thinned = np.zeros(mask.shape, dtype=bool)
    y, x = np.divmod(thin_pixels(pixels, stride, states), stride)
    thinned[y - 1, x - 1] = True
    return thinned


def seg2bmap(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the boundaries of a segmentation (Martin's ``seg2bmap``).

    A pixel is a boundary where its label differs from the one to its right, below it or below and right of
    it. The last row compares to the right only, the last column downwards only, the corner not at all.

    Args:
        labels: Label map of any type, [h, w].

    Returns:
        bool [h, w].
    """
    boundary = np.zeros(labels.shape, dtype=bool)
    boundary[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    boundary[:-1, :] |= labels[:-1, :] != labels[1:, :]
    boundary[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return boundary


def ground_truth(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the thinned boundary map of a label map.

    PASCAL-Context hands in its LabelMap. NYUD-v2 hands in its edge picture, which the SEISM tools treat as a
    segmentation of two labels: the line becomes a band of two pixels and is thinned back.

    Args:
        labels: Label map of any type, [h, w], in the original size and without padding.

    Returns:
        bool [h, w].
    """
    return thin(seg2bmap(labels))
