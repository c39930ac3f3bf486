"""MATLAB v5 files from anywhere: their structure is checked here, because SciPy's compiled reader trusts it.

SciPy looks element types up in C tables without a bound, so that one wrong byte ends the whole process. Only the
wanted variable is checked and handed on, uncompressed. The format is described in "MAT-File Format", The MathWorks.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.io

from harness.data.sample import Array

_HEADER = 128
_MATRIX, _COMPRESSED, _INT8, _INT32, _UINT32 = 14, 15, 1, 5, 6
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
"""Element types of numbers: 8 to 64 bit integers, single and double."""
_CHARACTERS = frozenset((1, 2, 3, 4, 16, 17, 18))
"""Element types of text: small integers and UTF-8, UTF-16, UTF-32."""
_CELL, _STRUCT, _CHAR, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 2, 4, 6, 15
"""Classes of arrays; 3 (objects), 5 (sparse), 16 and 17 (functions, opaque) contain no label."""
_MOST_BYTES = 1 << 28
"""A variable may unpack to 256 MiB; annotations of one image take a few."""
_DEEPEST = 32
"""Structs within structs; PASCAL-Part has four levels, and SciPy's reader recurses in C."""
_MOST_NAME = 64
"""MATLAB's own limit of a field's name, with the final zero."""


def load_mat(data: bytes, variable: str) -> Array | None:
    """Return one variable of a MAT v4 or v5 file, or None when the file does not contain it.

    Args:
        data: The whole file.
        variable: Its name.

    Raises:
        ValueError: the file is damaged, or the variable is no array of numbers, text, structs or cells.
        Exception: SciPy's reader lets almost any exception out.
    """
    if 0 not in data[:4]:  # version 5 begins with text, version 4 with a small number
        checked = _checked(data, variable)
        if checked is None:
            return None
        data = checked
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
    content: dict[str, Any] = scipy.io.loadmat(cast(Any, io.BytesIO(data)), variable_names=[variable])
    array = content.get(variable)
    if array is not None and not isinstance(array, np.ndarray):
        raise ValueError(f"{variable!r} is a sparse or other special array; save it as a full one")
    return array


def _checked(data: bytes, variable: str) -> bytes | None:
    """Return a file of the header and the wanted variable alone, uncompressed and found to be sound."""
    if len(data) < _HEADER:
        raise ValueError("ends within its header")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("not a MATLAB file")
    if data[125 if order == "<" else 124] != 1:
        raise ValueError("MATLAB 7.3 files are not read; save it with the option -v7")
    for kind, body in _elements(memoryview(data)[_HEADER:], order):
        if kind not in (_COMPRESSED, _MATRIX):
            raise ValueError(f"an element of type {kind} where a variable belongs")
        held = body
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            content = memoryview(unpacker.decompress(body, _MOST_BYTES))
            if unpacker.unconsumed_tail:
                raise ValueError(f"a variable of more than {_MOST_BYTES >> 20} MiB")
            if not unpacker.eof:
                raise ValueError("a compressed variable is cut off")
            kind, held = next(_elements(content, order), (0, content))
            if kind != _MATRIX:
                continue
        parts = [part for part, _ in zip(_elements(held, order), range(3), strict=False)]  # flags, shape, name
        if len(parts) < 3 or parts[2].body != variable.encode():
            continue
        _check_matrix(held, order, 0)
        return b"".join((data[:_HEADER], struct.pack(f"{order}II", _MATRIX, len(held)), held))
    return None


class _Element(NamedTuple):
    kind: int
    body: memoryview


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Iterate over the elements that lie one after the other in ``data``."""
    start, end = 0, len(data)
    while start < end:
        if end - start < 8:
            raise ValueError("ends within an element")
        kind, count = struct.unpack_from(f"{order}II", data, start)
        if kind >> 16:  # a small element: type and length share four bytes, four of data follow
            kind, count = kind & 0xFFFF, kind >> 16
            if count > 4:
                raise ValueError(f"a small element of {count} bytes")
            yield _Element(kind, data[start + 4 : start + 4 + count])
            start += 8
            continue
        start += 8
        if count > end - start:
            raise ValueError(f"an element of {count} bytes where {end - start} are left")
        yield _Element(kind, data[start : start + count])
        start += count if kind == _COMPRESSED else -(-count // 8) * 8  # all others are padded to 8 bytes


def _check_matrix(matrix: memoryview, order: str, depth: int) -> None:
    """Raise a ValueError unless a matrix is built as the format says, with everything below it."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels of structs")
    if not len(matrix):
        return  # an empty cell: SciPy reads it as an empty array
    parts = _elements(matrix, order)
    # Every array begins with its flags, its shape and its name.
    flags = _expect(next(parts, None), (_UINT32,), "flags")
    if len(flags) != 8:
        raise ValueError("flags of another length than 8")
    word = struct.unpack_from(f"{order}I", flags)[0]
    kind, complex_numbers = word & 0xFF, bool(word & 0x800)
    shape = _expect(next(parts, None), (_INT32,), "shape")
    if len(shape) % 4 or not 8 <= len(shape) <= 32 * 4:
        raise ValueError("a shape of no known length")
    count = 1
    for side in struct.unpack(f"{order}{len(shape) // 4}i", shape):
        if side < 0:
            raise ValueError("a negative side")
        count *= side
    if count > len(matrix):  # each value takes a byte at least; SciPy would reserve memory for all of them first
        raise ValueError(f"an array of {count} values in {len(matrix)} bytes")
    _expect(next(parts, None), (_INT8,), "name")
    # What follows depends on its class.
    if _FIRST_NUMERIC <= kind <= _LAST_NUMERIC:
        for _ in range(1 + complex_numbers):
            _expect(next(parts, None), _NUMBERS, "numbers")
    elif kind == _CHAR:
        _expect(next(parts, None), _CHARACTERS, "text")
    elif kind == _CELL:
        _check_below(parts, count, order, depth)
    elif kind == _STRUCT:
        length = _expect(next(parts, None), (_INT32,), "length of field names")
        if len(length) != 4:
            raise ValueError("a length of field names of no known size")
        size = struct.unpack(f"{order}i", length)[0]
        names = _expect(next(parts, None), (_INT8,), "field names")
        if not 0 < size <= _MOST_NAME or len(names) % size:
            raise ValueError(f"field names of {size} bytes")
        _check_below(parts, count * (len(names) // size), order, depth)
    else:
        raise ValueError(f"an array of class {kind}, which holds no label")
    if next(parts, None) is not None:
        raise ValueError("an array with more parts than its class has")


def _expect(part: _Element | None, kinds: Any, what: str) -> memoryview:
    if part is None or part.kind not in kinds:
        raise ValueError(f"no {what} where they belong")
    return part.body


def _check_below(parts: Iterator[_Element], count: int, order: str, depth: int) -> None:
    for _ in range(count):
        _check_matrix(_expect(next(parts, None), (_MATRIX,), "array"), order, depth + 1)
