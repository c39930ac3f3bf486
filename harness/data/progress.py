"""Progress bars on stderr, shown only on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(
    description: str, total: int | None, *, done: int = 0, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs.

    Args:
        description: Text left of the bar.
        total: Steps to do; None when unknown.
        done: Steps already done.
        in_bytes: The steps are bytes.

    Yields:
        A function that sets the number of steps done.
    """
    console = Console(stderr=True)
    count: ProgressColumn = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, completed=done)
        yield lambda steps: bar.update(task, completed=steps)
