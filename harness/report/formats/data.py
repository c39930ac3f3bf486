"""Tables for programs: CSV and JSON.

CSV has one line per row of each table, its conditions in front, and units in the names of the columns. JSON has the
unrounded values with their units, and the conditions.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from harness.report.cells import ALIKE, Number
from harness.report.grid import Table
from harness.report.text import csv_text, to_json


def render_csv(tables: Sequence[Table]) -> str:
    """Return the tables as one; a column that a table lacks is empty there. Numbers keep their digits."""
    rows = []
    for table in tables:
        for row in table.rows:
            cells: dict[str, Any] = {}
            for column in table.columns:
                cell = row.cells.get(column.key)
                if isinstance(cell, Number):
                    cells[column.csv_name] = f"{cell.value * column.scale:.12g}"
                    if cell.std is not None:
                        cells[f"{column.csv_name}_std"] = f"{cell.std * column.scale:.12g}"
                    for end in ("low", "high"):
                        if (bound := getattr(cell, end)) is not None:
                            cells[f"{column.csv_name}_{end}"] = f"{bound * column.scale:.12g}"
                    if cell.sign == ALIKE:
                        cells[f"{column.csv_name}_alike"] = "yes"
                else:
                    cells[column.csv_name] = _flat(cell)
            # Conditions in front, where a fact of the row takes the place of one of the table; other facts behind.
            conditions, facts = ({key: _flat(value) for key, value in of.items()} for of in (table.facts, row.facts))
            rows.append({key: facts.get(key, value) for key, value in conditions.items()} | cells | facts)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return csv_lines([list(map(csv_text, names)), *([row.get(name) for name in names] for row in rows)])


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as the lines of a CSV file; what is null or no number is an empty cell."""
    text = io.StringIO()
    shown = (["" if cell is None or cell != cell else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(shown)
    return text.getvalue()


def _flat(value: Any) -> Any:
    """Return lists as words with spaces between them, mappings as JSON, and texts as no spreadsheet computes them."""
    if isinstance(value, dict):
        return csv_text(json.dumps(value, ensure_ascii=False))
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return csv_text(value) if isinstance(value, str) else value


def render_json(tables: Sequence[Table]) -> str:
    """Return a list of tables; a cell is a number with its deviation over seeds, a text, or null."""
    content = []
    for table in tables:
        columns = [
            {"key": column.key, "title": column.title, "unit": column.unit or None, "better": column.better}
            for column in table.columns
        ]
        rows = []
        for row in table.rows:
            cells: dict[str, Any] = {}
            for column in table.columns:
                cell = row.cells.get(column.key)
                cells[column.key] = cell
                if isinstance(cell, Number):
                    cells[column.key] = {"value": cell.value, "std": cell.std, "n": cell.n, "mark": cell.mark}
                    if cell.low is not None:
                        cells[column.key] |= {"low": cell.low, "high": cell.high}
                    if cell.sign:
                        cells[column.key]["sign"] = cell.sign
            rows.append({**cells, **row.facts})
        content.append(
            {
                "caption": table.caption,
                "conditions": dict(table.facts),
                "columns": columns,
                "rows": rows,
                "notes": list(table.notes),
            }
        )
    return to_json(content) + "\n"
