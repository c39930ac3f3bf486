"""A comparison in Markdown, for the summary of a job or a comment."""

from harness.compare.result import Comparison
from harness.compare.show import COLUMNS, NUMBERS, headline, latency_test, lines, summary
from harness.report.text import markdown


def to_markdown(comparison: Comparison, everything: bool = False) -> str:
    """Return a comparison as Markdown.

    Args:
        comparison: The comparison.
        everything: Show values that are as they were too.
    """
    shown = lines(comparison, everything)
    parts = [f"### harness compare: {headline(comparison)}"]
    if shown:
        rule = ["---:" if column in NUMBERS else ":---" for column in COLUMNS]
        rows = [_row(line.cells, bold=line.fails) for line in shown]
        parts.append("\n".join(["| " + " | ".join(cells) + " |" for cells in (COLUMNS, rule, *rows)]))
    parts.append(markdown(summary(comparison)))
    if test := latency_test(comparison):
        parts.append(markdown(test))
    if comparison.notes:
        parts.append("\n".join(f"- {markdown(note)}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def _row(cells: tuple[str, ...], bold: bool) -> list[str]:
    shown = dict(zip(COLUMNS, map(markdown, cells), strict=True))
    if bold:
        shown["Verdict"] = f"**{shown['Verdict']}**"
    return list(shown.values())
