"""A comparison on a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.compare.result import Comparison
from harness.compare.show import COLUMNS, NUMBERS, headline, latency_test, lines, summary


def print_comparison(comparison: Comparison, console: Console, everything: bool = False) -> None:
    """Print a comparison.

    Args:
        comparison: The comparison.
        console: Where to.
        everything: Show values that are as they were too.
    """
    if shown := lines(comparison, everything):
        table = Table(box=box.SIMPLE_HEAD)
        for column in COLUMNS:
            table.add_column(
                column,
                justify="right" if column in NUMBERS else "left",
                no_wrap=column in ("BASE", "HEAD"),
                overflow="fold",
            )
        before = ""
        for line in shown:
            label, *cells = line.cells
            table.add_row(*map(Text, ["" if label == before else label, *cells]), style="red" if line.fails else None)
            before = label
        console.print(table)
    for told in (latency_test(comparison), *comparison.notes, summary(comparison), headline(comparison)):
        if told:
            console.print(Text(told))
