"""Statistics of images as columns of a Parquet table.

A single number is a column of numbers, several are a list in row-major order. A statistic of more than `DENSE` numbers,
of which few are not 0, keeps those alone, with their places in a column of their own. Images that were not scored are
null.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.tasks.images import Array, Statistic, objects

DENSE = 256
"""Numbers of a statistic up to which all are stored."""

PLACES = ".at"
"""Behind the name of a statistic: the column of the places of its numbers."""


def encode(column: str, values: Array, present: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a statistic by name.

    Args:
        column: Name of the column.
        values: [N, ...].
        present: Images that were scored, [N].
    """
    import pyarrow as pa  # 0.2 s that most commands do without

    def lists(rows: Any, kind: Any) -> Any:
        return pa.array([row if here else None for row, here in zip(rows, present, strict=True)], pa.list_(kind))

    if values.dtype == object:
        yield column, lists(values, pa.float32())
        return
    kind = pa.float64()
    if values.dtype.kind == "i":
        kind = pa.int32() if values.max(initial=0) < 2**31 else pa.int64()
    if values.ndim == 1:
        yield column, pa.array(values, kind, mask=~present)
        return
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    if flat.shape[1] <= DENSE:
        yield column, lists(flat, kind)
        return
    places = [np.flatnonzero(row) for row in flat]
    yield f"{column}{PLACES}", lists(places, pa.int32())
    yield column, lists([row[at] for row, at in zip(flat, places, strict=True)], kind)


def decode(table: Any, column: str, statistic: Statistic) -> tuple[Array, NDArray[np.bool_]]:
    """Return a statistic [N, ...], zeros where it is null, and where it is not, [N].

    Args:
        table: A `pyarrow.Table`.
        column: Name of the column.
        statistic: Form of the statistic.

    Raises:
        ValueError: the columns do not have that form.
    """
    stored = table[column].combine_chunks()
    present = stored.is_valid().to_numpy(zero_copy_only=False)
    found = statistic.empty(len(stored))
    if statistic.kind != "values" and not statistic.shape:
        found[present] = stored.drop_null().to_numpy()
        return _checked(found, column), present
    lengths = stored.value_lengths().fill_null(0).to_numpy()
    numbers = stored.flatten().to_numpy()  # of the lists that are not null
    if statistic.kind == "values":
        ends = np.cumsum(lengths)
        parts = [numbers[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return objects([part.astype(np.float32) for part in parts]), present
    size = math.prod(statistic.shape)
    flat = found.reshape(len(found), size)
    if size <= DENSE:
        if (lengths[present] != size).any():
            raise ValueError(f"{column} has lists of other lengths than {size}")
        flat[present] = numbers.reshape(-1, size)
    else:
        at = table[f"{column}{PLACES}"].combine_chunks()
        places = at.flatten().to_numpy()
        if (
            (at.value_lengths().fill_null(0).to_numpy() != lengths).any()
            or (places < 0).any()
            or (places >= size).any()
        ):
            raise ValueError(f"{column} has numbers at no or impossible places")
        flat[np.repeat(np.arange(len(flat)), lengths), places] = numbers
    return _checked(found, column), present


def _checked(values: Array, column: str) -> Array:
    """Return values, of which no count is negative.

    Raises:
        ValueError: one is.
    """
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        raise ValueError(f"{column} has negative counts")
    return values
