"""Pareto fronts by hand and against the definition, and the picture that shows them."""

import re

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.pareto import Axis, Point, draw_pareto, pareto_front, to_svg

COST = Axis("Latency, ms", higher_is_better=False)
GAIN = Axis("Δm, %", higher_is_better=True)


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(f"m{index}", x, y) for index, (x, y) in enumerate(pairs)]


def test_the_front_of_five_methods() -> None:
    slow_and_good, beaten, fast, same_cost_but_worse, twin = points((9, 3), (9.5, 2), (1, 0), (1, -1), (9, 3))
    everything = [slow_and_good, beaten, fast, same_cost_but_worse, twin]
    assert pareto_front(everything, COST, GAIN) == [fast, slow_and_good, twin]
    assert pareto_front([], COST, GAIN) == []


small = st.integers(-3, 3)


@given(st.lists(st.tuples(small, small), max_size=12), st.booleans(), st.booleans())
def test_a_point_is_on_the_front_unless_another_beats_it(pairs: list[tuple[int, int]], x_up: bool, y_up: bool) -> None:
    def beats(a: Point, b: Point) -> bool:
        gains = ((a.x - b.x) * (1 if x_up else -1), (a.y - b.y) * (1 if y_up else -1))
        return min(gains) >= 0 and max(gains) > 0

    known = points(*pairs)
    front = pareto_front(known, Axis("x", x_up), Axis("y", y_up))
    assert set(front) == {a for a in known if not any(beats(b, a) for b in known)}
    assert [point.x for point in front] == sorted((point.x for point in front), reverse=x_up)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(?:<tspan[^>]*>)?([^<]+)", svg)


def test_the_picture_is_the_same_every_time_whatever_the_settings() -> None:
    known = points((9, 3), (1, 0), (5, 2))
    first = to_svg(draw_pareto(known, COST, GAIN))
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        assert to_svg(draw_pareto(known, COST, GAIN)) == first
    assert first.startswith("<svg")
    assert {"m0", "m1", "m2", "Latency, ms ↓", "Δm, % ↑"} <= set(texts(first))
    assert 'id="point-2"' in first


def test_names_are_text_and_never_markup_or_formulas() -> None:
    name = 'a <script>alert("1")</script> $x$\x01'
    svg = to_svg(draw_pareto([Point(name, 1, 1)], COST, GAIN))
    assert "<script" not in svg
    assert "\x01" not in svg
    assert "&lt;script&gt;" in svg
    assert "$x$" in svg


def test_no_label_covers_another_or_a_point_and_the_fronts_are_written() -> None:
    known = [Point(f"a rather long name {i}", i % 7 + 1, (i * 37) % 11) for i in range(60)]
    figure = draw_pareto(known, COST, GAIN)
    [axes] = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    for point in known:
        px, py = axes.transData.transform((point.x, point.y))
        assert not any(box.contains(px, py) for box in boxes)
    assert 0 < len(boxes) < len(known)


@pytest.mark.parametrize(("largest", "scale"), [(20.0, "linear"), (400.0, "log")])
def test_a_wide_range_of_costs_is_logarithmic(largest: float, scale: str) -> None:
    [axes] = draw_pareto(points((1, 0), (largest, 1)), COST, GAIN).axes
    assert axes.get_xscale() == scale
