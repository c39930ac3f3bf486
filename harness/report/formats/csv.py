"""CSV: one row per row of each table, its conditions in front, units in the names of the columns."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.report.cells import Figure
from harness.report.grid import Row, Table


def render(tables: Sequence[Table]) -> str:
    """Return the tables as one; a column that a table lacks is empty there. Numbers keep their digits."""
    rows = [_row(table, row) for table in tables for row in table.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame(rows, columns=names, dtype=object).to_csv(index=False, lineterminator="\n")


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for column in table.columns:
        cell = row.cells.get(column.key)
        if isinstance(cell, Figure):
            cells[column.csv_name] = _number(cell.value * column.scale)
            if cell.std is not None:
                cells[f"{column.csv_name}_std"] = _number(cell.std * column.scale)
        else:
            cells[column.csv_name] = cell
    told = {key: _flat(value) for key, value in {**table.facts, **row.facts}.items()}
    return {key: told[key] for key in table.facts} | cells | {key: told[key] for key in row.facts}


def _number(value: float) -> str:
    return f"{value:.12g}"


def _flat(value: Any) -> Any:
    """Return lists as words with spaces between them, and mappings as JSON."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return " ".join(map(str, value)) if isinstance(value, list) else value
