"""Events of a run, one JSON object a line in ``events.jsonl`` of its folder: what it is at, for views and trackers.

Every line has the event's name, the time (seconds since 1970), the host and the process. The age of the last line is
the heartbeat of a run, for whoever started it, wherever.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENTS_NAME = "events.jsonl"

BEAT_SECONDS = 5.0
"""Longest time between two lines of a run that works, but for a step that takes longer."""

_LEAST_SECONDS = 1.0
"""Shortest time between two lines of one stage: fast steps would fill the disk."""

_JOB_IDS = ("SLURM_JOB_ID", "RAY_JOB_ID", "JOB_COMPLETION_INDEX", "SKYPILOT_TASK_ID", "TORCHELASTIC_RUN_ID")
"""Variables by which engines number their jobs."""

_TAIL = 2**16
"""Bytes at the end of a file that are read for its last lines."""

Sink = Callable[[dict[str, Any]], None]


@dataclass
class Events:
    """Writer of the events of a run.

    Attributes:
        path: The file; None where nothing is written, as in all processes of a cell but the first.
        sinks: Further takers of every event, such as trackers.
    """

    path: Path | None = None
    sinks: list[Sink] = field(default_factory=list)
    _written: float = 0.0

    def write(self, event: str, **values: Any) -> None:
        """Add a line. A disk that takes none does not end a run: events are a view of it, not its result."""
        if self.path is None:
            return
        job = next((os.environ[name] for name in _JOB_IDS if os.environ.get(name)), None)
        origin = {"time": round(time.time(), 3), "host": platform.node(), "pid": os.getpid()}
        line = {"event": event, **origin, **({"job": job} if job else {}), **values}
        self._written = time.monotonic()
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=str) + "\n")
        except OSError:
            pass
        for sink in self.sinks:
            sink(line)

    def due(self, seconds: float = _LEAST_SECONDS) -> bool:
        """Return whether the last line is so old."""
        return self.path is not None and time.monotonic() - self._written >= seconds


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file in order; lines that are damaged, as the last one of a killed run, are left out."""
    try:
        with path.open("rb") as file:
            yield from _parsed(file.read())
    except OSError:
        return


def last_events(path: Path) -> list[dict[str, Any]]:
    """Return the last events of a file, without reading what came long before."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            content = file.read()
    except OSError:
        return []
    return list(_parsed(content if size <= _TAIL else content.partition(b"\n")[2]))


def _parsed(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event
