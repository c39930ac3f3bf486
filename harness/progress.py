"""Progress bars on stderr with throughput and time left; silent when stderr is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.text import Text


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        return Text("" if speed is None else f"{speed:.1f} {unit}/s", style="progress.data.speed")


class Progress:
    """Shows long work.

    Args:
        quiet: Show nothing, even on a terminal.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self.enabled = self.console.is_terminal and not quiet
        self.title = ""

    @contextmanager
    def bar(self, text: str, total: int, *, done: int = 0, unit: str = "img") -> Iterator[Callable[[int], None]]:
        """Show a bar while the context lasts; call what it yields with the amount of work just done.

        Args:
            text: What is being done.
            total: Amount of work.
            done: Work done before.
            unit: Unit of the throughput.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console, disable=not self.enabled, transient=True) as bars:
            task = bars.add_task(f"{self.title} {text}".strip(), total=total, completed=done, unit=unit)
            yield lambda amount: bars.advance(task, amount)
