"""Progress on stderr, with throughput and time left: bars on a terminal, log lines elsewhere; and events of a run."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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

from harness.events import Events

LOGGER = logging.getLogger("harness")
"""Takes every line; on the level DEBUG, as `-v` sets it, lines are printed on a terminal too."""

_FIRST_LINE, _NEXT_LINE = 10.0, 30.0
"""Seconds after which what goes on is logged first, and then again: short work needs no lines."""


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
    hidden = quiet or not console.is_terminal or LOGGER.isEnabledFor(logging.DEBUG)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        bar = bars.add_task(text, total=total, completed=done)
        yield lambda steps: bars.update(bar, completed=steps)


@dataclass
class RunProgress:
    """Bars or log lines of a run, each headed by what is running.

    Attributes:
        quiet: Show nothing, even on a terminal.
        title: Head of the bars to come.
        events: Takes the events of the run; by default they go nowhere.
    """

    quiet: bool = False
    title: str = ""
    events: Events = field(default_factory=Events)

    @contextmanager
    def bar(self, text: str, total: int, *, done: int = 0, unit: str = "img") -> Iterator[Callable[[int], None]]:
        """Show a `progress_bar` under the title; where stderr is no terminal, a line now and then."""
        head = f"{self.title} {text}".strip()
        begun = time.monotonic()
        logged = begun + _FIRST_LINE - _NEXT_LINE
        with progress_bar(head, total, done=done, unit=unit, quiet=self.quiet) as report:

            def reported(steps: int) -> None:
                nonlocal logged
                report(steps)
                now = time.monotonic()
                if now - logged >= _NEXT_LINE and steps > done:
                    logged = now
                    rate = (steps - done) / (now - begun)
                    left = (total - steps) / rate
                    self.say(f"{text} {steps} of {total}, {rate:.3g} {unit}/s, {left:.0f} s left")

            yield reported

    def say(self, text: str) -> None:
        """Log a line under the title; it is printed where stderr is no terminal, and on one with `-v`."""
        LOGGER.info("%s %s", self.title, text)
        if not self.quiet and (not sys.stderr.isatty() or LOGGER.isEnabledFor(logging.DEBUG)):
            sys.stderr.write(f"harness: {self.title} {text}\n")
            sys.stderr.flush()


class _Rate(ProgressColumn):
    """Steps per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s", style="progress.data.speed")
