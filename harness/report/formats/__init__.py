"""Tables as Markdown, LaTeX, CSV, HTML and JSON."""

from collections.abc import Callable, Mapping, Sequence

from harness.report.formats import data, html, latex, markdown
from harness.report.grid import Table

FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown.render,
    "latex": latex.render,
    "csv": data.render_csv,
    "html": html.render,
    "json": data.render_json,
}
"""Name of a format to the function that renders tables in it."""

__all__ = ["FORMATS", "data", "html", "latex", "markdown"]
