"""A table before it is rendered: columns, rows, caption and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.report.cells import Cell, Column, Figure, text_of

METHOD = Column("method", "Method")
BACKBONE = Column("backbone", "Backbone")

_STYLES = {"best": "bold", "second": "underline"}


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: Key of a column to its cell; a key that is missing is an empty cell.
        signs: What stands behind the name of the method, such as a dagger.
        facts: What programs should know of the row beside its cells.
    """

    cells: Mapping[str, Cell]
    signs: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def label(self) -> str:
        """Return the name of the method with its signs."""
        return " ".join([str(self.cells[METHOD.key]), *self.signs])

    def text(self, column: Column) -> str:
        """Return a cell as plain text."""
        return self.label() if column == METHOD else text_of(self.cells.get(column.key), column)


@dataclass(frozen=True)
class Table:
    """A table whose rows were made under the same conditions.

    Attributes:
        columns: From left to right.
        rows: From top to bottom.
        caption: What the figures were measured on and how.
        notes: Why cells are empty, and warnings.
        facts: The same conditions for programs.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str
    notes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frame(self) -> pd.DataFrame:
        """The cells as plain text, by headings."""
        return pd.DataFrame({column.heading: [row.text(column) for row in self.rows] for column in self.columns})

    def is_text(self, column: Column) -> bool:
        """Return whether a column holds names, which stand on the left, rather than numbers."""
        return not column.unit

    def print(self, console: Console) -> None:
        """Print the table to a terminal, or as plain text to a file or pipe."""
        table = RichTable(title=Text(self.caption), caption=Text("\n".join(self.notes)), box=box.SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for column in self.columns:
            table.add_column(Text(column.heading), justify="left" if self.is_text(column) else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(row.text(column), style=_style(row.cells.get(column.key))) for column in self.columns))
        console.print(table)


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns in which some row has a figure."""
    return tuple(column for column in columns if any(row.cells.get(column.key) is not None for row in rows))


def _style(cell: Cell) -> str:
    return _STYLES[cell.mark] if isinstance(cell, Figure) and cell.mark else ""
