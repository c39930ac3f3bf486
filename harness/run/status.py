"""States of the runs below a results folder, from their files alone, whatever engine started them."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import UsageError
from harness.events import EVENTS_NAME, last_events
from harness.records import RECORD_NAME, read_record

State = Literal["queued", "running", "stale", "failed", "done"]

STALE_SECONDS = 120.0
"""Age of the last event at which a run of another machine counts as stopped; of this machine, its process is asked."""


@dataclass(frozen=True)
class Status:
    """State of a run.

    Attributes:
        run_id: Its folder below the results folder.
        state: ``queued``: nothing was begun; ``stale``: its process is gone, or silent for `STALE_SECONDS`.
        doing: Stage or phase it is at.
        done: Steps of it that are done.
        total: Steps of it.
        rate: Images per second.
        left: Seconds to the end of its training, at the present speed; None where unknown.
        age: Seconds since its last sign of life.
        host: Machine it runs on, or ran.
        note: Reason of a failure.
    """

    run_id: str
    state: State
    doing: str | None = None
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    left: float | None = None
    age: float | None = None
    host: str | None = None
    note: str | None = None


def statuses(root: Path, now: float | None = None) -> list[Status]:
    """Return the states of all runs below a folder, in order of path.

    Args:
        root: Results folder.
        now: Seconds since 1970; None for the clock's.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such results folder")
    return list(_statuses(root, time.time() if now is None else now))


def _statuses(root: Path, now: float) -> Iterator[Status]:
    folders = {path.parent for name in (RECORD_NAME, EVENTS_NAME) for path in root.rglob(name)}
    for folder in sorted(folders):
        yield _status(folder, folder.relative_to(root).as_posix(), now)


def _status(folder: Path, run_id: str, now: float) -> Status:
    events = last_events(folder / EVENTS_NAME)
    ended, failure = _recorded(folder)
    if not events:
        return Status(run_id, ended or "queued", note=failure)
    last = events[-1]
    # What the last lines say, the newest first: a beat has no losses, and an evaluation no stage.
    newest: dict[str, Any] = {}
    for event in reversed(events):
        newest = event | newest
    age = max(0.0, now - float(last["time"]))
    host = newest.get("host")
    if last["event"] == "queued" and ended is None:
        return Status(run_id, "queued", age=age, host=host)
    if last["event"] == "end" or ended == "done":
        # A cell that was begun again after its end has newer events than its record's.
        state: State = "done" if (last.get("status") == "complete" or ended == "done") else "failed"
        return Status(run_id, state, note=last.get("failure") or failure, age=age, host=host)
    state = "running" if _alive(last, age) else "stale"
    return Status(
        run_id,
        state,
        doing=last.get("stage") or last.get("phase") or last["event"],
        done=last.get("iteration"),
        total=last.get("iterations"),
        rate=newest.get("images_per_s"),
        left=newest.get("seconds_left") if state == "running" else None,
        note=failure,
        age=age,
        host=host,
    )


def _recorded(folder: Path) -> tuple[State | None, str | None]:
    """Return how the record of a run says that it ended, and the reason; None while it has not."""
    try:
        record = read_record(folder)
    except UsageError:  # none yet, or of a newer version
        return None, None
    known: dict[str, State] = {"complete": "done", "failed": "failed"}
    return known.get(record.status), record.failure


def _alive(event: dict[str, Any], age: float) -> bool:
    """Return whether the process of an event is at work still."""
    if event.get("host") != platform.node() or os.name != "posix":
        return age < STALE_SECONDS
    try:
        os.kill(int(event["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return True
