"""Pareto fronts: the methods that no other beats on both axes, as numbers and as a picture."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from matplotlib.transforms import Bbox

_LOG_RANGE = 30
"""Ratio of the largest to the smallest value from which an axis of positive values is logarithmic: on a linear one,
methods with a thirtieth of the largest cost share one place."""

_LONGEST_LABEL = 34
"""Characters of a label: a third of the width of the picture."""


@dataclass(frozen=True)
class Point:
    """A method in the plane of two values, both finite.

    Attributes:
        label: Text next to it.
        x: Horizontal value.
        y: Vertical value.
        x_spread: Half the length of its error bar; 0 for none.
        y_spread: Half the length of its error bar; 0 for none.
        reported: Copied, not measured: the marker is open, and the point is never on the front.
        other_session: Timed in another session than most points; shown likewise.
    """

    label: str
    x: float
    y: float
    x_spread: float = 0
    y_spread: float = 0
    reported: bool = False
    other_session: bool = field(default=False, repr=False)

    @property
    def ranked(self) -> bool:
        """True if the point may be on the front."""
        return not (self.reported or self.other_session)


@dataclass(frozen=True)
class Axis:
    """An axis: its title with the unit, and the better direction."""

    title: str
    higher_is_better: bool

    @property
    def heading(self) -> str:
        """The title with the arrow of the better direction."""
        return _lines(f"{self.title} {'↑' if self.higher_is_better else '↓'}")


@dataclass(frozen=True)
class Palette:
    """Colours of a picture, as ``#rrggbb``; mid tones that stand on white and on black."""

    text: str = "#6b7280"
    grid: str = "#9ca3af"
    point: str = "#6b7280"
    front: str = "#2f7fd6"


def pareto_front(points: Sequence[Point], x: Axis, y: Axis) -> list[Point]:
    """Return the points that no other beats on one axis without losing on the other, best ``x`` first.

    Of points that agree in both values all are returned.
    """

    def worth(point: Point) -> tuple[float, float]:
        return point.x if x.higher_is_better else -point.x, point.y if y.higher_is_better else -point.y

    # From the best x on, a point is on the front if it is better in y than all before it, or equals the last in both.
    front: list[Point] = []
    for point in sorted(points, key=worth, reverse=True):
        if not front or worth(point)[1] > worth(front[-1])[1] or worth(point) == worth(front[-1]):
            front.append(point)
    return front


@dataclass(frozen=True)
class Panel:
    """Axes of a picture.

    Attributes:
        points: At least one.
        x: The horizontal axis.
        y: The vertical axis.
        title: Written above them, in lines as they are.
        paths: Further places (x, y), those of a path joined by a thin line; they have no labels and are not ranked.
    """

    points: Sequence[Point]
    x: Axis
    y: Axis
    title: str = ""
    paths: Sequence[Sequence[tuple[float, float]]] = ()


def draw_pareto(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    *,
    title: str = "",
    palette: Palette | None = None,
    size: tuple[float, float] = (5.6, 3.8),
) -> Figure:
    """Draw points and the staircase of their front on a transparent ground; see `draw_panels`.

    Args:
        points: At least one.
        x: The horizontal axis.
        y: The vertical axis.
        title: Written above the axes, in lines as they are.
        palette: Colours.
        size: Width and height in inches.
    """
    return draw_panels([Panel(points, x, y, title)], palette=palette, size=size)


def draw_panels(
    panels: Sequence[Panel], *, palette: Palette | None = None, size: tuple[float, float] = (5.6, 3.8)
) -> Figure:
    """Draw panels side by side, each with its points and the staircase of their front, on a transparent ground.

    The picture depends on nothing but the arguments: no style file and no global setting of matplotlib. Labels
    stand where they cover no point and no other label, those of the front first; where no place is left a
    label is left out. Point ``i`` of the first panel is the element ``point-i`` of an SVG.

    Args:
        panels: At least one.
        palette: Colours.
        size: Width and height of a panel in inches.
    """
    colours = palette or Palette()
    with matplotlib.style.context("default", after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an SVG's text is drawn by its reader's fonts
        figure = Figure(figsize=(size[0] * len(panels), size[1]), layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        drawn = []
        for place, panel in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), place)
            drawn.append((axes, panel, _plot(axes, panel, colours)))
        figure.draw_without_rendering()  # gives the axes their final place, which the labels need
        figure.set_layout_engine("none")  # labels lie inside the axes and move nothing
        for axes, panel, front in drawn:
            _label(axes, [*front, *(point for point in panel.points if point not in front)], front, colours)
    return figure


def _plot(axes: Axes, panel: Panel, colours: Palette) -> list[Point]:
    """Draw a panel without the labels of its points; return its front."""
    points, x, y = panel.points, panel.x, panel.y
    _frame(axes, points, x, y, colours)
    axes.set_title(_lines(panel.title), fontsize=8, loc="left", color=colours.text, parse_math=False)
    for path in panel.paths:
        across, up = zip(*path, strict=True)
        axes.plot(across, up, "-", marker=".", color=colours.point, markersize=4, linewidth=0.8, alpha=0.6, zorder=1.5)
    # The staircase lies under the points.
    front = pareto_front([point for point in points if point.ranked], x, y)
    axes.step(
        [point.x for point in front],
        [point.y for point in front],
        where="post",
        color=colours.front,
        linewidth=1.5,
        gid="front",
        zorder=2,
    )
    for index, point in enumerate(points):
        best = point in front
        colour = colours.front if best else colours.point
        if point.x_spread or point.y_spread:
            axes.errorbar(
                point.x,
                point.y,
                xerr=point.x_spread or None,
                yerr=point.y_spread or None,
                fmt="none",
                ecolor=colour,
                elinewidth=1,
                capsize=2.5,
                zorder=2.5,
            )
        axes.plot(
            point.x,
            point.y,
            "o",
            color=colour,
            markerfacecolor=colour if point.ranked else "none",
            markersize=7 if best else 5.5,
            alpha=1 if best else 0.75,
            gid=f"point-{index}",
            zorder=3,
        )
    return front


def to_svg(figure: Figure, salt: str = "harness") -> str:
    """Return a picture as the text of an ``svg`` element, the same for the same picture; its text stays text.

    Args:
        figure: The picture.
        salt: Makes the ids inside differ from those of other pictures on one page.
    """
    buffer = io.StringIO()
    with (
        matplotlib.style.context(["default", {"svg.hashsalt": salt, "svg.fonttype": "none"}], after_reset=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _frame(axes: Axes, points: Sequence[Point], x: Axis, y: Axis, colours: Palette) -> None:
    """Draw the axes: titles, grid, two spines, and a logarithmic scale where values span decades."""
    axes.patch.set_alpha(0)
    axes.set_xlabel(x.heading, color=colours.text, fontsize=10, parse_math=False)
    axes.set_ylabel(y.heading, color=colours.text, fontsize=10, parse_math=False)
    axes.tick_params(which="both", colors=colours.text, labelsize=9, length=3)
    axes.grid(color=colours.grid, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours.grid)
    values = [point.x for point in points]
    if min(values) > 0 and max(values) / min(values) >= _LOG_RANGE:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.margins(0.12, 0.14)


def _label(axes: Axes, points: Sequence[Point], front: Sequence[Point], colours: Palette) -> None:
    """Write the labels of points, the first ones first, where they cover no point, no line and no other label."""
    # Boxes that are taken, in pixels: treads and risers of the staircase, error bars, markers.
    taken = []
    place = axes.transData.transform
    for a, b in pairwise(front):
        (ax, ay), (bx, by) = place((a.x, a.y)), place((b.x, b.y))
        taken += [_box(ax, bx, ay, ay, 2), _box(bx, bx, ay, by, 2)]
    for point in points:
        for dx, dy in ((point.x_spread, 0), (0, point.y_spread)):
            (x0, y0), (x1, y1) = place(((point.x - dx, point.y - dy), (point.x + dx, point.y + dy)))
            taken.append(_box(x0, x1, y0, y1, 2))
        px, py = place((point.x, point.y))
        taken.append(_box(px, px, py, py, 4))
    inside = axes.get_window_extent()
    for point in points:
        text = _lines(point.label).replace("\n", " ")
        if len(text) > _LONGEST_LABEL:
            text = text[: _LONGEST_LABEL - 1] + "…"
        # Eight places around the point, near ones first.
        for away, (dx, dy) in product((6, 12), ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))):
            note = axes.annotate(
                text,
                (point.x, point.y),
                xytext=(away * dx, away * dy),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[dx],
                va={1: "bottom", 0: "center", -1: "top"}[dy],
                color=colours.front if point in front else colours.text,
                fontsize=9,
                parse_math=False,
                zorder=4,
            )
            box = note.get_window_extent()
            fits = box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y0 >= inside.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()


def _box(x0: float, x1: float, y0: float, y1: float, margin: float) -> Bbox:
    return Bbox.from_extents(min(x0, x1) - margin, min(y0, y1) - margin, max(x0, x1) + margin, max(y0, y1) + margin)


def _lines(text: str) -> str:
    """Return text without characters that XML cannot hold; lines stay."""
    return "\n".join("".join(c for c in line if c.isprintable()) for line in text.split("\n"))
