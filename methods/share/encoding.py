"""Encodings of the places of non-zero differences; each is exact, and the smallest one is stored.

Sizes of all of them are worked out in closed form before one is written, and each is undone bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Encoding = Literal["bitmask", "columns", "gaps", "channels"]

_ESCAPE = 255
"""Largest number of 8 bits: in ``gaps`` it stands for 255 zeros that no value follows."""

_MAX_COLUMNS = 2**16 - 1
"""Widest matrix whose columns fit into 16 bits."""


@dataclass(frozen=True)
class Layout:
    """Encoded places of the stored values of a tensor.

    Attributes:
        encoding: Name of the encoding.
        code: The places, as bytes.
        places: Place of every stored value in the flattened tensor, ascending; ``channels`` stores zeros too.
    """

    encoding: Encoding
    code: Bytes
    places: Places


def encode(shape: tuple[int, ...], nonzero: Places, value_bytes: int) -> Layout:
    """Return the smallest layout, its stored values included.

    Args:
        shape: Of the tensor; its first dimension are the output channels.
        nonzero: Places of the values that are not zero in the flattened tensor, ascending.
        value_bytes: Bytes of a stored value.
    """
    rows, columns = _matrix(shape)
    # Bytes of k values in an [r, c] matrix: r c / 8; k and one more per 255 zeros; 4 per output channel that differs.
    layouts = [
        Layout("bitmask", _bitmask(rows * columns, nonzero), nonzero),
        Layout("gaps", _gaps(nonzero), nonzero),
        _channels(rows, columns, nonzero),
    ]
    if columns <= _MAX_COLUMNS:  # 2 (r + k)
        layouts.append(Layout("columns", _columns(rows, columns, nonzero), nonzero))
    return min(layouts, key=lambda layout: layout.code.size + value_bytes * layout.places.size)


def decode(encoding: Encoding, shape: tuple[int, ...], code: Bytes) -> Places:
    """Return the places that ``code`` encodes, ascending.

    Raises:
        ValueError: the code does not fit the shape.
    """
    rows, columns = _matrix(shape)
    places = _DECODERS[encoding](rows, columns, code)
    if places.size and not (places[0] >= 0 and places[-1] < rows * columns and (np.diff(places) > 0).all()):
        raise ValueError(f"{encoding}: places lie outside of a tensor of shape {shape}, or do not ascend")
    return places


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    rows = shape[0] if shape else 1
    return rows, int(np.prod(shape[1:], dtype=np.int64))


def _bitmask(size: int, nonzero: Places) -> Bytes:
    """One bit per element."""
    mask = np.zeros(size, np.uint8)
    mask[nonzero] = 1
    return np.packbits(mask)


def _from_bitmask(rows: int, columns: int, code: Bytes) -> Places:
    return np.unpackbits(code, count=rows * columns).nonzero()[0]


def _columns(rows: int, columns: int, nonzero: Places) -> Bytes:
    """Number of values of every row, then the column of every value, 16 bits each."""
    counts = np.bincount(nonzero // columns, minlength=rows)
    return np.concatenate([counts, nonzero % columns]).astype("<u2").view(np.uint8)


def _from_columns(rows: int, columns: int, code: Bytes) -> Places:
    numbers = code.view("<u2").astype(np.int64)
    counts, column = numbers[:rows], numbers[rows:]
    if counts.sum() != column.size:
        raise ValueError("columns: the rows have another number of values")
    return np.repeat(np.arange(rows), counts) * columns + column


def _gaps(nonzero: Places) -> Bytes:
    """Zeros before each value, 8 bits; 255 stands for 255 zeros and no value."""
    zeros = np.diff(nonzero, prepend=-1) - 1  # between each value and the one before it
    escapes = zeros // _ESCAPE
    # All bytes are escapes but the last one of each gap, which counts the zeros that remain.
    code = np.full(int(escapes.sum()) + nonzero.size, _ESCAPE, np.uint8)
    code[np.cumsum(escapes + 1) - 1] = zeros % _ESCAPE
    return code


def _from_gaps(rows: int, columns: int, code: Bytes) -> Places:
    zeros = np.cumsum(code, dtype=np.int64)  # before each byte's value; 64 bits, for sums overflow 8
    values = code < _ESCAPE
    return zeros[values] + np.arange(int(values.sum()))


def _channels(rows: int, columns: int, nonzero: Places) -> Layout:
    """Output channels with a value, 32 bits each; they are stored whole, zeros included."""
    channels = np.unique(nonzero // columns) if nonzero.size else np.empty(0, np.int64)
    code = channels.astype("<u4").view(np.uint8)
    return Layout("channels", code, _from_channels(rows, columns, code))


def _from_channels(rows: int, columns: int, code: Bytes) -> Places:
    channels = code.view("<u4").astype(np.int64)
    return (channels[:, None] * columns + np.arange(columns)).ravel()


_DECODERS: dict[Encoding, Callable[[int, int, Bytes], Places]] = {
    "bitmask": _from_bitmask,
    "columns": _from_columns,
    "gaps": _from_gaps,
    "channels": _from_channels,
}
