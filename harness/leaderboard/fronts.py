"""The Pareto pictures of a board: an accuracy against every cost."""

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.leaderboard.boards import Board
from harness.leaderboard.columns import Column
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
"""Stand-in colours of a picture to the style sheet's, which follow the reader's light or dark setting."""


@dataclass(frozen=True)
class Front:
    """A picture of a board, or why there is none.

    Attributes:
        title: What is drawn against what.
        svg: The picture, safe to embed; None where too few methods have both figures.
        text: What the picture shows, in words, or what is missing.
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
    title = f"{y.title} against {x.title} ({x.detail})"
    pairs = zip(board.rows, board.values(x), board.values(y), strict=True)
    points = [Point(board.label(row), a, b) for row, a, b in pairs if a is not None and b is not None]
    if len(points) < 2:
        return Front(title, None, _missing(board, x, y, len(points)))
    across, up = Axis(x.name, bool(x.higher_is_better)), Axis(y.name, bool(y.higher_is_better))
    best = pareto_front(points, across, up)
    left_out = len(board.rows) - len(points)
    text = f"{title}, {len(points)} of {len(board.rows)} rows" if left_out else f"{title}, {len(points)} rows"
    text += f". On the front: {_listed([point.label for point in best])}."
    if not board.ranks(y):
        text += " Gains are against the single-task row of each row's own backbone."
    return Front(title, _embedded(points, across, up, text), text)


def _missing(board: Board, x: Column, y: Column, both: int) -> str:
    rows = len(board.rows)
    counts = [(column.title, sum(value is not None for value in board.values(column))) for column in (y, x)]
    have = " and ".join(f"{title} for {count}" for title, count in counts)
    return f"A front takes two rows that have both figures; of {rows} here, {both or 'none'} has: {have}."


def _listed(labels: list[str]) -> str:
    shown = ", ".join(labels[:8])
    return f"{shown} and {len(labels) - 8} more" if len(labels) > 8 else shown


def _embedded(points: list[Point], across: Axis, up: Axis, text: str) -> str:
    """Return the picture as markup for a page: ids of its own, the page's colours, a tooltip on every point."""
    salt = hashlib.sha256(repr((points, across, up)).encode()).hexdigest()[:8]
    svg = to_svg(draw_pareto(points, across, up, palette=_ROLES, size=_SIZE), salt)
    for stand_in, colour in _STYLE.items():
        svg = svg.replace(stand_in, colour)
    for index, point in enumerate(points):
        tip = html.escape(f"{point.label}: {point.x:.4g} ({across.title}), {point.y:.4g} ({up.title})")
        svg = svg.replace(f'<g id="point-{index}">', f'<g id="point-{index}"><title>{tip}</title>')
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{salt}-", svg)
    svg = re.sub(r"\s*\n\s*", " ", re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(text)}" ', 1)
