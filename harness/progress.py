"""Progress bars on stderr with throughput and time left; silent when stderr is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


@contextmanager
def progress_bar(
    text: str, total: int | None, *, done: int = 0, unit: str = "img", quiet: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs.

    Args:
        text: What is being done.
        total: Steps to do; None when unknown.
        done: Steps done before.
        unit: What a step is, for the throughput; ``B`` shows sizes.
        quiet: Show nothing, even on a terminal.

    Yields:
        A function that sets the number of steps done.
    """
    console = Console(stderr=True)
    count = (DownloadColumn(), TransferSpeedColumn()) if unit == "B" else (MofNCompleteColumn(), _Rate(unit))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *count,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        bar = bars.add_task(text, total=total, completed=done)
        yield lambda steps: bars.update(bar, completed=steps)


@dataclass
class RunProgress:
    """Bars of a run, each headed by what is running.

    Attributes:
        quiet: Show nothing, even on a terminal.
        title: Head of the bars to come.
    """

    quiet: bool = False
    title: str = ""

    def bar(
        self, text: str, total: int, *, done: int = 0, unit: str = "img"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Return a `progress_bar` under the title."""
        return progress_bar(f"{self.title} {text}".strip(), total, done=done, unit=unit, quiet=self.quiet)


class _Rate(ProgressColumn):
    """Steps per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s", style="progress.data.speed")
