"""Arguments that name results: a path, or the URL of a store."""

from pathlib import Path
from typing import Any

import click


class Results(click.Path):
    """A path; of a URL, the folder that its results are fetched to until the command ends."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if ctx is not None and "://" in str(value) and not ctx.resilient_parsing:
            from harness.records.store import fetched

            return ctx.with_resource(fetched(str(value)))
        return super().convert(value, param, ctx)


RESULTS = Results()
