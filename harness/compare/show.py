"""The lines of a comparison, for people."""

from collections import Counter
from dataclasses import dataclass

from harness.compare.result import FATES, VERDICTS, Comparison, Figure, Row
from harness.errors import counted
from harness.report.cells import DASH

COLUMNS = ("Row", "Value", "BASE", "HEAD", "Change", "Verdict", "Why")
NUMBERS = ("BASE", "HEAD", "Change")
"""Columns that are set to the right."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        cells: Text by column, in the order of `COLUMNS`.
        fails: Whether it fails the gate.
    """

    cells: tuple[str, ...]
    fails: bool


def lines(comparison: Comparison, everything: bool = False) -> list[Line]:
    """Return a line for each row that stands alone and for each value that is not as it was, or for all values."""
    found = []
    for row in comparison.rows:
        if row.fate != "compared":
            cells = (row.label, "", "", "", "", FATES[row.fate], "; ".join(row.reasons))
            found.append(Line(cells, comparison.fails(row)))
        shown = [figure for figure in row.figures if everything or figure.verdict != "same"]
        found += [Line(tuple(line_of(row, figure).values()), comparison.fails(figure)) for figure in shown]
    return found


def headline(comparison: Comparison) -> str:
    """Return the outcome in a line."""
    count = len(comparison.failures)
    return f"{count} regression{'s' if count > 1 else ''}" if count else "no regression"


def summary(comparison: Comparison) -> str:
    """Return how many values and rows were compared, and what became of them."""
    figures = [figure for row in comparison.rows for figure in row.figures]
    compared = sum(row.fate == "compared" for row in comparison.rows)
    verdicts = Counter(figure.verdict for figure in figures)
    fates = Counter(row.fate for row in comparison.rows)
    counts = [f"{verdicts[verdict]} {said}" for verdict, said in VERDICTS.items() if verdicts[verdict]]
    others = [f"{fates[fate]} {said}" for fate, said in FATES.items() if fates[fate] and fate != "compared"]
    told = f"{counted(len(figures), 'value')} of {counted(compared, 'row')}: {', '.join(counts) or 'none'}"
    return f"{told}; rows {', '.join(others)}" if others else told


def latency_test(comparison: Comparison) -> str | None:
    """Return how latencies were judged; None where none was."""
    if all(figure.slowdown is None for row in comparison.rows for figure in row.figures):
        return None
    test = comparison.latency_test
    return f"latency: {test['name']}, {100 * test['level']:g} % interval; regressed if {test['regressed']}"


def line_of(row: Row, figure: Figure) -> dict[str, str]:
    """Return the cells of a value by column."""
    base, head = _values(figure)
    why = figure.reason or (f"tolerance {figure.tolerance}" if figure.verdict in ("regressed", "within") else "")
    cells = (row.label, f"{figure.title} [{figure.unit}]", base, head, _change(figure), VERDICTS[figure.verdict], why)
    return dict(zip(COLUMNS, cells, strict=True))


def _values(figure: Figure) -> tuple[str, str]:
    """Return both values with as many decimals as it takes to tell them apart."""
    for decimals in range(figure.decimals, 13):
        base, head = (_number(value, decimals) for value in (figure.base, figure.head))
        if base != head or figure.base == figure.head:
            break
    return base, head


def _number(value: float | None, decimals: int, sign: str = "") -> str:
    return DASH if value is None else f"{value:{sign},.{decimals}f}"


def _change(figure: Figure) -> str:
    if figure.slowdown is not None:
        found = figure.slowdown
        return f"× {found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})"
    if figure.base is None or figure.head is None or figure.verdict == "incomparable":
        return ""
    change = figure.head - figure.base
    decimals = next((d for d in range(figure.decimals, 13) if change == 0 or float(f"{change:.{d}f}")), 12)
    percent = f" ({100 * change / abs(figure.base):+.2g} %)" if figure.base and change else ""
    return _number(change, decimals, "+" if change else "") + percent
