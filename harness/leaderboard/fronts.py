"""The Pareto pictures of a board: an accuracy against every cost."""

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.leaderboard.boards import Board
from harness.report.cells import Column, Number
from harness.report.columns import SESSION
from harness.report.pareto import Axis, Palette, Point, draw_pareto, pareto_front, to_svg

COSTS = ("latency_ms", "macs", "storage")
"""Columns that accuracy is drawn against; latencies of several machines are drawn apart."""

_SIZE = (4.7, 3.3)
_ROLES = Palette(text="#010101", grid="#020202", point="#030303", front="#040404")
_STYLE = {
    _ROLES.text: "var(--ink-2)",
    _ROLES.grid: "var(--line-2)",
    _ROLES.point: "var(--point)",
    _ROLES.front: "var(--accent)",
}
"""Placeholder colours of a picture to the style sheet's, which follow the reader's light or dark setting."""


@dataclass(frozen=True)
class Front:
    """A picture of a board, or the reason that there is none.

    Attributes:
        title: Vertical and horizontal quantity.
        svg: The picture, safe to embed; None where too few methods have both values.
        text: The picture in words, or what is missing.
    """

    title: str
    svg: str | None
    text: str


def fronts(board: Board, accuracy: str) -> Iterator[Front]:
    """Yield the pictures of a board.

    Args:
        board: The board.
        accuracy: Key of the column on the vertical axis.
    """
    if board.record.reported:
        yield Front("Accuracy against cost", None, "sources count costs differently, so no picture compares them.")
        return
    y = next((column for column in board.columns if column.key == accuracy), None)
    if y is None:
        return
    for x in board.columns:
        if x.key.partition("@")[0] in COSTS:
            yield _front(board, x, y)
    if not any(column.key.startswith("latency_ms") for column in board.columns):
        yield Front(f"{y.title} against Latency", None, "No row of this table has a latency.")


def _front(board: Board, x: Column, y: Column) -> Front:
    """Return the picture of two columns of a board, with the text for those who cannot see it."""
    title, rows = f"{y.title} against {x.title} ({x.detail})", len(board.rows)
    across, up = (board.columns.index(column) for column in (x, y))
    points = []
    for row in board.rows:
        a, b = row.cells[across], row.cells[up]
        if isinstance(a, Number) and isinstance(b, Number):
            label = " ".join(filter(None, (board.label(row), a.sign)))
            points.append(Point(label, a.value, b.value, other_session=a.sign == SESSION))
    # One point is no front: say how many rows have which value instead.
    if len(points) < 2:
        counts = [(column.title, sum(value is not None for value in board.values(column))) for column in (y, x)]
        have = " and ".join(f"{name} for {count}" for name, count in counts)
        lacking = f"of {rows} here, {len(points) or 'none'} has: {have}."
        return Front(title, None, f"A front takes two rows that have both values; {lacking}")
    horizontal, vertical = (Axis(f"{one.title}, {one.detail}", one.better == "higher") for one in (x, y))
    best = [point.label for point in pareto_front([point for point in points if point.ranked], horizontal, vertical)]
    listed = ", ".join(best[:8]) + (f" and {len(best) - 8} more" if len(best) > 8 else "")
    counted = f"{len(points)} of {rows} rows" if len(points) < rows else f"{rows} rows"
    text = f"{title}, {counted}. On the front: {listed}."
    if not board.ranks(y):
        text += " Gains are against the single-task row of each row's own backbone."
    if not all(point.ranked for point in points):
        text += f" {SESSION} timed in another session than the others, and never on the front."
    return Front(title, _embedded(points, horizontal, vertical, text), text)


def _embedded(points: list[Point], across: Axis, up: Axis, text: str) -> str:
    """Return the picture as markup for a page: distinct ids, the page's colours, a tooltip on every point."""
    # Ids must differ between the pictures of a page and be the same for the same picture.
    salt = hashlib.sha256(repr((points, across, up)).encode()).hexdigest()[:8]
    svg = to_svg(draw_pareto(points, across, up, palette=_ROLES, size=_SIZE), salt)
    # Colours by the style sheet, so that pictures follow a dark page.
    for placeholder, colour in _STYLE.items():
        svg = svg.replace(placeholder, colour)
    for index, point in enumerate(points):
        tip = html.escape(f"{point.label}: {point.x:.4g} ({across.title}), {point.y:.4g} ({up.title})")
        svg = svg.replace(f'<g id="point-{index}">', f'<g id="point-{index}"><title>{tip}</title>')
    # Prefix every id and every reference to one, then drop comments and line breaks.
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{salt}-", svg)
    svg = re.sub(r"\s*\n\s*", " ", re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(text)}" ', 1)
