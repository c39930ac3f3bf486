"""Columns and figures of tables, before they become text."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from harness.records import Record

DASH = "–"
"""Stands where there is no figure."""

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name for programs.
        title: Its name for people, without the arrow.
        better: Direction of the figures; None where there is none.
        unit: Unit of the figures as they are held; empty for text.
        shown: Unit they are shown in, as a word for the names of CSV columns.
        scale: Factor from the one to the other.
        decimals: Digits after the point.
        signed: Whether a plus is shown.
        ranked: Whether the best figures are marked.
    """

    key: str
    title: str
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    shown: str = ""
    scale: float = 1.0
    decimals: int = 2
    signed: bool = False
    ranked: bool = False

    @property
    def heading(self) -> str:
        """Title with its arrow."""
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[self.better]
        return self.title + arrow

    @property
    def csv_name(self) -> str:
        """Name with the unit."""
        return f"{self.key}_{self.shown}" if self.shown else self.key


@dataclass(frozen=True)
class Figure:
    """One cell with a number: mean and sample deviation over seeds, unrounded, in the unit of its column.

    Attributes:
        value: Mean.
        std: Sample deviation; None for a single value.
        n: Values it is the mean of.
        mark: Its place in the column.
    """

    value: float
    std: float | None = None
    n: int = 1
    mark: Mark | None = None

    def text(self, column: Column, plus_minus: str = " ± ") -> str:
        """Return the figure as it is shown; a deviation of 0 is left out."""
        sign = "+" if column.signed else ""
        shown = f"{self.value * column.scale:{sign}.{column.decimals}f}"
        return f"{shown}{plus_minus}{self.std * column.scale:.{column.decimals}f}" if self.std else shown


Cell = Figure | str | None
"""A number, a text, or nothing."""


def pooled(values: Iterable[float | None]) -> Figure | None:
    """Return the mean of the values that are there; None if none is."""
    held = [value for value in values if value is not None]
    if not held:
        return None
    return Figure(mean(held), stdev(held) if len(held) > 1 else None, len(held))


def text_of(cell: Cell, column: Column) -> str:
    """Return a cell as plain text."""
    return cell.text(column) if isinstance(cell, Figure) else cell or DASH


def size(record: Record) -> str:
    """Return the input size as height x width, or a dash where a source does not say."""
    return "{}x{}".format(*record.input_size) if record.input_size else DASH
