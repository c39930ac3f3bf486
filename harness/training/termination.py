"""Termination by the system: SIGTERM, SIGHUP and SIGUSR1, as Slurm, Kubernetes and systemd send them.

Training defers the signal to the end of its step, so that what it saves is the state between two iterations. Everywhere
else the signal ends the command at once; what was done so far is on disk. A second signal never waits.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from harness.errors import Terminated

SIGNALS = tuple(number for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if (number := getattr(signal, name, None)))
"""Those of them that this system has."""

_PATIENCE = 5.0
"""Seconds that a step may take to end after the signal: clusters kill after 10 to 30, and saving takes some of them."""


class Signals:
    """Signals of this process: those that wait, and whether they wait at all."""

    def __init__(self) -> None:
        self.process = 0  # 0: no handler is installed
        self.deferring = False
        self.first: signal.Signals | None = None

    def __bool__(self) -> bool:
        """Return whether a signal waits."""
        return self.first is not None

    def saving(self) -> None:
        """Let a checkpoint be written to its end, however long it takes."""
        if hasattr(signal, "setitimer") and self.process:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check(self, others: bool = False) -> None:
        """End the command if a signal waits.

        Args:
            others: Whether one waits in another process of the same work.

        Raises:
            Terminated: one does.
        """
        if self.first is not None:
            raise Terminated(self.first.name)
        if others:
            raise Terminated("a signal to another process")

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal."""
        if os.getpid() != self.process:  # a forked worker ends as it would without a handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.first is not None and number != getattr(signal, "SIGALRM", None):
            os._exit(Terminated.exit_code)  # the second one
        elif self.first is not None:  # the step did not end in time
            self.check()
        else:
            self.first = signal.Signals(number)
            if not self.deferring:
                self.check()
            if hasattr(signal, "setitimer"):
                signal.signal(signal.SIGALRM, self.handle)
                signal.setitimer(signal.ITIMER_REAL, _PATIENCE)


_signals = Signals()


def install() -> None:
    """Handle the signals in this process; they keep their meaning in processes it starts."""
    _signals.process, _signals.first, _signals.deferring = os.getpid(), None, False
    for number in SIGNALS:
        signal.signal(number, _signals.handle)


@contextlib.contextmanager
def deferred() -> Iterator[Signals]:
    """Let the first signal wait until the block asks for it, or ends.

    Raises:
        Terminated: a signal came while the block ran.
    """
    _signals.deferring = True
    try:
        yield _signals
    except Exception:
        _signals.check()  # a group's signal may have ended a loader process first; that is no failure
        raise
    finally:
        _signals.deferring = False
        _signals.saving()
    _signals.check()
