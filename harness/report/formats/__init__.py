"""Tables as Markdown, LaTeX, CSV, HTML and JSON."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.grid import Table


def _rendered(module: str, function: str, tables: "Sequence[Table]") -> str:
    """Import a format when it is used: the command line lists all of them."""
    render: Callable[[Sequence[Table]], str] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return render(tables)


FORMATS: "Mapping[str, Callable[[Sequence[Table]], str]]" = {
    "md": partial(_rendered, "markdown", "render"),
    "latex": partial(_rendered, "latex", "render"),
    "csv": partial(_rendered, "data", "render_csv"),
    "html": partial(_rendered, "html", "render"),
    "json": partial(_rendered, "data", "render_json"),
}
"""Name of a format to the function that renders tables in it."""
