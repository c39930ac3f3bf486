"""Marks the best and the second best figure of each column."""

from collections.abc import Sequence
from dataclasses import replace

from harness.report.cells import Column, Figure, Mark
from harness.report.grid import Row


def mark(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with marks in the columns that are ranked.

    Figures that are shown alike share a mark. Where all are alike none is marked, and of two only the best.
    """
    cells = [dict(row.cells) for row in rows]
    for column in columns:
        if column.ranked:
            places = _places([row.get(column.key) for row in cells], column)
            for row, place in zip(cells, places, strict=True):
                figure = row.get(column.key)
                if isinstance(figure, Figure):
                    row[column.key] = replace(figure, mark=place)
    return tuple(replace(row, cells=marked) for row, marked in zip(rows, cells, strict=True))


def _places(figures: Sequence[object], column: Column) -> list[Mark | None]:
    values = [
        round(figure.value * column.scale, column.decimals) if isinstance(figure, Figure) else None
        for figure in figures
    ]
    held = [value for value in values if value is not None]
    if len(set(held)) < 2:
        return [None] * len(values)
    best, *others = sorted(set(held), reverse=column.better == "higher")
    places: dict[float | None, Mark] = {best: "best"}
    if others and len(held) > 2:
        places[others[0]] = "second"
    return [places.get(value) for value in values]
