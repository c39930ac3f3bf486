"""Cells of a matrix in processes of this machine, side by side."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.config import RunConfig
from harness.errors import HarnessError, MethodError, Terminated, UsageError
from harness.files import check_writable, digest, write_atomically
from harness.progress import RunProgress

FOLDER = ".launch"
"""Folder below the results with the configuration of a matrix and what its jobs said."""

TRIES = 3
"""Most starts of a job: one that was killed goes on from its checkpoint, unless it is killed each time."""

_LOOK = 0.1
"""Seconds between two looks at the jobs."""


def cell_names(config: RunConfig) -> list[str]:
    """Return the cells of a matrix in words, in the order of their numbers."""
    cells = itertools.product(config.dataset, config.method, config.seed)
    return [f"{method} on {dataset}, seed {seed}" for dataset, method, seed in cells]


def parse_shard(text: str) -> tuple[int, int]:
    """Return the number of a shard and how many there are, from ``i/n``; i counts from 0.

    Raises:
        UsageError: it is none.

    >>> parse_shard("2/8")
    (2, 8)
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UsageError(f"--shard {text}: must be i/n with i from 0 to n - 1, for example 0/4")
    return int(number), int(count)


def command(config: RunConfig, shard: tuple[int, int]) -> list[str]:
    """Return the command that runs one shard of a matrix, anywhere the results folder is; its configuration is written.

    Raises:
        UsageError: the results folder cannot be written.
    """
    content = config.model_dump_json(indent=1)
    file = config.output / FOLDER / f"{digest(content)[:12]}.json"
    check_writable("-o", config.output)
    write_atomically(file, content)
    return [sys.executable, "-m", "harness", "run", "-C", str(file), "--shard", "{}/{}".format(*shard)]


@dataclass
class _Job:
    number: int
    process: subprocess.Popen[bytes]
    log: TextIO
    tries: int


def run_locally(config: RunConfig, jobs: int, progress: RunProgress) -> dict[int, HarnessError]:
    """Run every cell of a matrix in a process of its own, and return the failures by number of the cell.

    A process that dies is started again and goes on from its checkpoint. Its threads are an even part of the cores,
    unless OMP_NUM_THREADS is set. When this process is ended, the jobs are ended as well, and can be resumed.

    Args:
        config: The matrix.
        jobs: Processes at the same time.
        progress: Where progress is shown.

    Raises:
        UsageError: the results folder cannot be written.
    """
    names = cell_names(config)
    waiting = deque((number, 1) for number in range(len(names)))
    running: list[_Job] = []
    failures: dict[int, HarnessError] = {}
    try:
        with progress.bar(f"matrix, {jobs} at a time", len(names), unit="cells") as report:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(_start(config, *waiting.popleft(), len(names), jobs))
                time.sleep(_LOOK)
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    job.log.close()
                    if _died(job.process.returncode) and job.tries < TRIES:
                        progress.say(f"{names[job.number]} was killed; it is started again")
                        waiting.append((job.number, job.tries + 1))
                    elif job.process.returncode != 0:
                        failures[job.number] = _failure(job)
                    report(len(names) - len(waiting) - len(running))
    except BaseException:
        _end(running)
        raise
    return failures


def _start(config: RunConfig, number: int, tries: int, cells: int, jobs: int) -> _Job:
    words = command(config, (number, cells))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // jobs))} | dict(os.environ)
    path = Path(words[words.index("-C") + 1]).with_suffix(f".{number}.log")
    log = path.open("a", encoding="utf-8")
    # Jobs that are ended with their launcher must not get its Ctrl-C twice: they have a group of their own.
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
    )
    return _Job(number, process, log, tries)


def _died(code: int) -> bool:
    """Return whether a process was ended by a signal, or by one that it answered."""
    return code < 0 or code == Terminated.exit_code


def _failure(job: _Job) -> HarnessError:
    """Return the failure of a job, with the last line it said."""
    lines = [line for line in Path(job.log.name).read_text(encoding="utf-8", errors="replace").splitlines() if line]
    said = lines[-1].removeprefix("harness: ") if lines else "it said nothing"
    kinds = {kind.exit_code: kind for kind in (UsageError, MethodError)}
    if _died(job.process.returncode):
        return MethodError(f"was killed {TRIES} times (exit code {job.process.returncode}); see {job.log.name}")
    return kinds.get(job.process.returncode, MethodError)(f"{said}; see {job.log.name}")


def _end(running: list[_Job]) -> None:
    """Ask the jobs to save what they have and end."""
    for job in running:
        job.process.send_signal(signal.SIGTERM)
    for job in running:
        try:
            job.process.wait(10)
        except subprocess.TimeoutExpired:
            job.process.kill()
        job.log.close()
