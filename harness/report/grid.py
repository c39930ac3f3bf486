"""A table before it is rendered: columns, rows, caption and notes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from harness.report.cells import Cell, Column, Number, marked, text_of
from harness.report.text import printable

if TYPE_CHECKING:
    import pandas as pd

METHOD = Column("method", "Method")
BACKBONE = Column("backbone", "Backbone")

_STYLES = {"best": "bold", "second": "underline", None: ""}

_NUMBER = re.compile(r"(?<![\w.+-])\d+(?:\.\d+)?(?![\w+-])")
"""A number by itself; numbers within names of encoders and runs are parts of the names."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: Key of a column to its cell; a key that is missing is an empty cell.
        signs: Signs of notes behind the name of the method, such as a dagger.
        facts: Further facts of the row for programs.
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
        caption: The conditions in words.
        notes: Reasons of empty cells, and warnings.
        facts: The conditions for programs.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str
    notes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frame(self) -> "pd.DataFrame":
        """The cells as plain text, by headings."""
        import pandas as pd  # half a second that no command needs

        return pd.DataFrame({column.heading: [row.text(column) for row in self.rows] for column in self.columns})

    def is_text(self, column: Column) -> bool:
        """Return whether a column has names, which are set to the left, rather than numbers."""
        return not column.unit

    def print(self, console: Console) -> None:
        """Print the table to a terminal, or as plain text to a file or pipe."""
        notes = "\n".join(map(printable, self.notes))
        table = RichTable(title=Text(printable(self.caption)), caption=Text(notes), box=box.SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for column in self.columns:
            # Where there is little room headings go over several lines; a number that is cut is another number.
            heading = Text(printable(column.heading))
            whole = [*heading.plain.split(), *(printable(row.text(column)) for row in self.rows)]
            widest = max(map(len, whole), default=0)
            justify: JustifyMethod = "left" if self.is_text(column) else "right"
            table.add_column(heading, justify=justify, overflow="fold", min_width=widest)
        for row in self.rows:
            shown = []
            for column in self.columns:
                cell = row.cells.get(column.key)
                style = _STYLES[cell.mark] if isinstance(cell, Number) else ""
                shown.append(Text(printable(row.text(column)), style=style))
            table.add_row(*shown)
        console.print(table, crop=False)  # what does not fit is wrapped by the terminal, not lost


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns in which some row has a value."""
    return tuple(column for column in columns if any(row.cells.get(column.key) is not None for row in rows))


def mark(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with the best and second best numbers of every ranked column marked."""
    cells = [dict(row.cells) for row in rows]
    for column in columns:
        if column.ranked:
            found = marked([row.get(column.key) for row in cells], column)
            for row, cell in zip(cells, found, strict=True):
                if cell is not None:
                    row[column.key] = cell
    return tuple(replace(row, cells=shown) for row, shown in zip(rows, cells, strict=True))


class Notes:
    """Notes below a table: one line per reason, with the rows it concerns.

    Reasons that differ only in their numbers are one reason, with the range of the numbers.

    Args:
        labels: Rows of the table. A reason that concerns all of them names none.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(dict.fromkeys(labels))
        self._found: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}

    def add(self, subject: str, reason: str, label: str) -> None:
        """Note why a value of a row is missing or not to be trusted.

        Args:
            subject: The value; may be empty.
            reason: Why.
            label: The row.
        """
        texts, labels = self._found.setdefault((subject, _NUMBER.sub("#", reason)), ({}, {}))
        texts[reason] = labels[label] = None

    def lines(self) -> list[str]:
        """Return the notes in the order in which their reasons came."""
        lines = []
        for (subject, _), (texts, labels) in self._found.items():
            [reason] = merged(list(texts))  # they differ in their numbers alone, or they would be apart
            concerned = "" if len(labels) == len(self.labels) else ", ".join(labels)
            about = " of ".join(filter(None, (subject, concerned)))
            lines.append(f"{about}: {reason}" if about else reason)
        return lines


def merged(texts: Sequence[str]) -> list[str]:
    """Return texts, each once; those that differ only in their numbers become one, with the range of each number.

    >>> merged(["Table 2, row 1", "Table 3, row 1"])
    ['Table 2 and 3, row 1']
    """
    # Texts by what they are without their numbers.
    similar: dict[str, list[str]] = {}
    for text in texts:
        similar.setdefault(_NUMBER.sub("#", text), []).append(text)
    lines = []
    for found in similar.values():
        # Number by number: the first of each text, then the second, and so on.
        ranges = []
        for numbers in zip(*map(_NUMBER.findall, found), strict=True):
            known = sorted(set(numbers), key=float)
            ranges.append(f"{known[0]} to {known[-1]}" if len(known) > 2 else " and ".join(known))
        pieces = zip(_NUMBER.split(found[0]), [*ranges, ""], strict=True)
        lines.append("".join(piece for pair in pieces for piece in pair))
    return lines
