"""Columns and cells of tables, before they become text, and the marks of the best cells."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from harness.records import Record

DASH = "–"
"""Shown where there is no value."""

ALIKE = "≈"
"""Sign of a value whose difference to the best of its column is not significant."""

Mark = Literal["best", "second"]

Style = Literal["paper", "share", "wide"]
"""Columns of a table."""
Label = Literal["method", "backbone", "run"]
"""Text at the points of a picture."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name for programs.
        title: Its name for people, without the arrow.
        better: Direction of the values; None where they do not compare.
        unit: Unit of the values as they are stored; empty for text.
        shown: Unit they are shown in, as a word for the names of CSV columns.
        scale: Factor from the one to the other.
        decimals: Digits after the point; None for as few as the value needs.
        signed: Whether a plus is shown.
        ranked: Whether the best values are marked.
        detail: Metric, unit and circumstances, where the title does not name them.
    """

    key: str
    title: str
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    shown: str = ""
    scale: float = 1.0
    decimals: int | None = 2
    signed: bool = False
    ranked: bool = False
    detail: str = ""

    @property
    def heading(self) -> str:
        """Title with its arrow."""
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[self.better]
        return self.title + arrow

    @property
    def csv_name(self) -> str:
        """Name with the unit."""
        return f"{self.key}_{self.shown}" if self.shown else self.key

    def number(self, value: float, signed: bool = False) -> str:
        """Return a stored value as it is shown."""
        kind = "g" if self.decimals is None else f".{self.decimals}f"
        return f"{value * self.scale:{'+' if signed else ''}{kind}}"


@dataclass(frozen=True)
class Number:
    """A cell with a number: mean and standard deviation over seeds, unrounded, in the unit of its column.

    Attributes:
        value: Mean.
        std: Standard deviation (divided by n - 1); None for a single value.
        n: Number of values in the mean.
        mark: Its place in the column.
        sign: Sign of a note below the table, shown after the number.
        ranked: Whether the number compares with the others of its column.
        low: Lower end of its interval over images; None where it has none.
        high: Upper end of it.
    """

    value: float
    std: float | None = None
    n: int = 1
    mark: Mark | None = None
    sign: str = ""
    ranked: bool = True
    low: float | None = None
    high: float | None = None

    def text(self, column: Column, plus_minus: str = " ± ") -> str:
        """Return the number as it is shown: ± the deviation over seeds, (±) half of the interval over images."""
        shown = column.number(self.value, column.signed)
        if self.std:
            shown += f"{plus_minus}{column.number(self.std)}"
        if self.low is not None and self.high is not None:
            shown += f" ({plus_minus.strip()}{column.number((self.high - self.low) / 2)})"
        return f"{shown} {self.sign}" if self.sign else shown


Cell = Number | str | None
"""A number, a text, or nothing."""


def pooled(values: Iterable[float | None]) -> Number | None:
    """Return the mean of the known, finite values; None if there are none.

    >>> pooled([1.0, None, 2.0])
    Number(value=1.5, std=0.7071067811865476, n=2, mark=None, sign='', ranked=True, low=None, high=None)
    """
    # A seed without a value counts neither in the mean nor in n.
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Number(mean(known), stdev(known) if len(known) > 1 else None, len(known))


def text_of(cell: Cell, column: Column) -> str:
    """Return a cell as plain text."""
    return cell.text(column) if isinstance(cell, Number) else cell or DASH


def size(record: "Record") -> str:
    """Return the input size as height x width, or a dash where a source does not name it."""
    return "{}x{}".format(*record.input_size) if record.input_size else DASH


def marked(cells: Sequence[Cell], column: Column) -> list[Cell]:
    """Return the cells of a column with its best and second best numbers marked, if the column is ranked.

    Numbers that look the same share a mark. If all look the same none is marked, and of two only the best.

    >>> column = Column("depth", "Depth", "lower", "m", ranked=True)
    >>> [cell.mark for cell in marked([Number(0.5), Number(0.7), Number(0.6)], column)]
    ['best', None, 'second']
    """
    if not column.ranked:
        return list(cells)
    # Numbers are compared as they are shown, so that no reader sees two equal ones marked differently.
    shown = [
        round(cell.value * column.scale, column.decimals) if isinstance(cell, Number) and cell.ranked else None
        for cell in cells
    ]
    # None stands for cells that take no part, and is never a key of a mark.
    known = [value for value in shown if value is not None]
    places: dict[float | None, Mark] = {}
    if len(set(known)) > 1:
        best, second, *_ = sorted(set(known), reverse=column.better == "higher")
        places[best] = "best"
        if len(known) > 2:
            places[second] = "second"
    return [
        replace(cell, mark=places.get(value)) if isinstance(cell, Number) else cell
        for cell, value in zip(cells, shown, strict=True)
    ]
