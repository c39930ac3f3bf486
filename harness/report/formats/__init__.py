"""Tables as Markdown, LaTeX, CSV, HTML and JSON."""

from collections.abc import Callable, Mapping, Sequence

from harness.report.formats import csv, html, json, latex, markdown
from harness.report.grid import Table

FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown.render,
    "latex": latex.render,
    "csv": csv.render,
    "html": html.render,
    "json": json.render,
}
"""Name of a format to what renders tables in it."""

__all__ = ["FORMATS", "csv", "html", "json", "latex", "markdown"]
