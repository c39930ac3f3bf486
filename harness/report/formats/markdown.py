"""Markdown (GitHub's tables)."""

import re
from collections.abc import Sequence

import pandas as pd

from harness.report.cells import Column, Figure
from harness.report.grid import Row, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$]|&(?=[#\w]+;))")
_MARKS = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}


def render(tables: Sequence[Table]) -> str:
    """Return tables with their captions and notes."""
    return "\n".join(map(_table, tables))


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _table(table: Table) -> str:
    frame = pd.DataFrame(
        {escape(column.heading): [_cell(row, column) for row in table.rows] for column in table.columns}
    )
    sides = ["left" if table.is_text(column) else "right" for column in table.columns]
    body = frame.to_markdown(index=False, disable_numparse=True, colalign=sides)
    notes = "".join(f"- {escape(note)}\n" for note in table.notes)
    return f"{escape(table.caption)}\n\n{body}\n" + (f"\n{notes}" if notes else "")


def _cell(row: Row, column: Column) -> str:
    cell = row.cells.get(column.key)
    form = _MARKS[cell.mark] if isinstance(cell, Figure) else "{}"
    return form.format(escape(row.text(column)))
