"""Markdown (GitHub's tables)."""

from collections.abc import Sequence

from tabulate import tabulate

from harness.report.cells import Number
from harness.report.grid import Table
from harness.report.text import markdown as escape

_MARKS = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}


def render(tables: Sequence[Table]) -> str:
    """Return tables with their captions and notes."""
    parts = []
    for table in tables:
        cells: dict[str, list[str]] = {}
        for column in table.columns:
            shown = cells.setdefault(escape(column.heading), [])
            for row in table.rows:
                cell = row.cells.get(column.key)
                form = _MARKS[cell.mark] if isinstance(cell, Number) else "{}"
                shown.append(form.format(escape(row.text(column))))
        sides = ["left" if table.is_text(column) else "right" for column in table.columns]
        body = tabulate(cells, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=sides)
        notes = "".join(f"- {escape(note)}\n" for note in table.notes)
        parts.append(f"{escape(table.caption)}\n\n{body}\n" + (f"\n{notes}" if notes else ""))
    return "\n".join(parts)
