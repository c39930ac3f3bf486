"""JSON: unrounded values with their units, and the conditions."""

import json
from collections.abc import Sequence
from typing import Any

from harness.report.cells import Figure
from harness.report.grid import Row, Table


def render(tables: Sequence[Table]) -> str:
    """Return a list of tables; a cell is a number with its deviation over seeds, a text, or null."""
    return json.dumps([_table(table) for table in tables], indent=1, ensure_ascii=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    columns = [
        {"key": column.key, "title": column.title, "unit": column.unit or None, "better": column.better}
        for column in table.columns
    ]
    return {
        "caption": table.caption,
        "conditions": dict(table.facts),
        "columns": columns,
        "rows": [_row(table, row) for row in table.rows],
        "notes": list(table.notes),
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells = {column.key: row.cells.get(column.key) for column in table.columns}
    return {
        **{key: _figure(cell) if isinstance(cell, Figure) else cell for key, cell in cells.items()},
        **row.facts,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "std": figure.std, "n": figure.n, "mark": figure.mark}
