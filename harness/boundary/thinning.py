"""Thinning of binary maps to lines one pixel wide."""

import numpy as np
from numpy.typing import NDArray

from harness.boundary._jit import kernel

Flat = NDArray[np.int32]
"""Positions in an image with a rim of one pixel on every side, row by row."""


def _removable() -> NDArray[np.bool_]:
    """Tabulate which neighbourhoods lose their centre, bool [2, 256].

    Guo and Hall's two-step parallel thinning in the form of Lam, Lee and Suen (PAMI 1992): conditions G1,
    G2 and, by step, G3 or G3'. Bit i of the index is neighbour x(i+1), from the east one counter-clockwise.
    """
    x = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool)
    x1, x2, x3, x4, x5, x6, x7, x8 = x.T
    odd, even, following = x[:, 0::2], x[:, 1::2], np.roll(x[:, 0::2], -1, axis=1)
    crossings = (~odd & (even | following)).sum(axis=1)
    pairs = np.minimum((odd | even).sum(axis=1), (even | following).sum(axis=1))
    alike = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    return np.stack([alike & ~((x2 | x3 | ~x8) & x1), alike & ~((x6 | x7 | ~x4) & x5)])


_REMOVABLE = _removable()


# Neighbour i of a pixel lies at (_DY[i], _DX[i]) and sees that pixel as its own neighbour i ^ 4.
_DY = np.array([0, -1, -1, -1, 0, 1, 1, 1], dtype=np.int32)
_DX = np.array([1, 1, 0, -1, -1, -1, 0, 1], dtype=np.int32)


@kernel
def _toggle(p: int, stride: int, codes: NDArray[np.uint8]) -> None:
    """Enter or strike pixel ``p`` in the neighbourhood codes of its neighbours."""
    for i in range(8):
        codes[p + _DY[i] * stride + _DX[i]] ^= np.uint8(1 << (i ^ 4))


@kernel
def add_pixels(pixels: Flat, stride: int, alive: NDArray[np.uint8], codes: NDArray[np.uint8]) -> None:
    """Set ``pixels`` in the image that `thin_pixels` works on."""
    for p in pixels:
        alive[p] = 1
        _toggle(p, stride, codes)


@kernel
def thin_pixels(pixels: Flat, stride: int, alive: NDArray[np.uint8], codes: NDArray[np.uint8]) -> Flat:
    """Thin an image until a step removes nothing and return the pixels that stay.

    The first two steps test every pixel. From then on a pixel can only have become removable when one of its
    neighbours went in the last two steps, so only these are tested.

    Args:
        pixels: Positions of all set pixels.
        stride: Width of the image with its rim.
        alive: 1 where a pixel is set, uint8, flat with a rim. The same on return as on entry.
        codes: Set neighbours of every pixel, as indices of the table; likewise.
    """
    gone = np.empty(pixels.size, dtype=np.int32)  # in the order of going
    before = last = total = 0  # gone[before:last] went in the last step but one, gone[last:total] in the last
    step = 0
    while step == 0 or last < total:
        found = total
        removable = _REMOVABLE[step & 1]
        if step < 2:
            for p in pixels:
                if alive[p] == 1 and removable[codes[p]]:
                    gone[found] = p
                    found += 1
        else:
            for q in gone[before:total]:
                for i in range(8):
                    p = q + _DY[i] * stride + _DX[i]
                    if alive[p] == 1 and removable[codes[p]]:
                        alive[p] = 2  # not found twice
                        gone[found] = p
                        found += 1
        for p in gone[total:found]:
            alive[p] = 0
            _toggle(p, stride, codes)
        before, last, total = last, total, found
        step += 1
    stay = np.empty(pixels.size - total, dtype=np.int32)
    count = 0
    for p in pixels:
        if alive[p] != 0:
            stay[count] = p
            count += 1
    add_pixels(gone[:total], stride, alive, codes)
    return stay


def flatten(mask: NDArray[np.bool_]) -> Flat:
    """Return the positions of the set pixels of ``mask`` [h, w] in the image with a rim."""
    y, x = np.nonzero(mask)
    return ((y + 1) * (mask.shape[1] + 2) + x + 1).astype(np.int32)


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
    alive, codes = np.zeros((2, (mask.shape[0] + 2) * stride), dtype=np.uint8)
    add_pixels(pixels, stride, alive, codes)
    thinned = np.zeros(mask.shape, dtype=bool)
    y, x = np.divmod(thin_pixels(pixels, stride, alive, codes), stride)
    thinned[y - 1, x - 1] = True
    return thinned
