"""Cells of a matrix in processes of this machine, side by side."""

import contextlib
import itertools
import multiprocessing.connection
import multiprocessing.context
import os
import runpy
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.config import RunConfig
from harness.errors import DataError, HarnessError, MethodError, Terminated, UsageError
from harness.files import check_writable, digest, write_atomically
from harness.progress import RunProgress

FOLDER = ".launch"
"""Folder below the results with the configuration of a matrix and what its jobs said."""

TRIES = 3
"""Most starts of a job: one that was killed goes on from its checkpoint, unless it is killed each time."""


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
    return ["harness", "run", "-C", str(file), "--shard", "{}/{}".format(*shard)]


@dataclass
class _Job:
    number: int
    process: BaseProcess
    log: Path
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
                multiprocessing.connection.wait([job.process.sentinel for job in running])
                for job in [job for job in running if job.process.exitcode is not None]:
                    running.remove(job)
                    if _died(job.process.exitcode) and job.tries < TRIES:
                        progress.say(f"{names[job.number]} was killed; it is started again")
                        waiting.append((job.number, job.tries + 1))
                    elif job.process.exitcode != 0:
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
    log = Path(words[words.index("-C") + 1]).with_suffix(f".{number}.log")
    process = _context().Process(target=_work, args=(words, environment, log))
    with _environment(environment):  # of the process that all others are forked from
        process.start()
    return _Job(number, process, log, tries)


def _context() -> multiprocessing.context.SpawnContext | multiprocessing.context.ForkServerContext:
    """Return the way to start processes: forked from one that has the imports behind it, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.cli.run"])
    return context


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work(words: list[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command as if it had been typed, its lines in a file."""
    import torch

    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # the process it was forked from may have another number
    # A job that is ended with its launcher must not get its Ctrl-C too: it has a group of its own.
    if hasattr(os, "setsid"):
        os.setsid()
    with log.open("ab") as said, Path(os.devnull).open("r+b") as nothing:
        for file, number in ((nothing, 0), (nothing, 1), (said, 2)):
            os.dup2(file.fileno(), number)
    sys.argv = words
    runpy.run_module("harness", run_name="__main__")


def _died(code: int | None) -> bool:
    """Return whether a process was ended by a signal, or by one that it answered."""
    return code is not None and (code < 0 or code == Terminated.exit_code)


def _failure(job: _Job) -> HarnessError:
    """Return the failure of a job, with the last line it said."""
    text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.is_file() else ""
    lines = [line for line in text.splitlines() if line]
    said = lines[-1].removeprefix("harness: ") if lines else "it said nothing"
    code = job.process.exitcode
    if _died(code):
        return MethodError(f"was killed {TRIES} times (exit code {code}); see {job.log}")
    kinds: dict[int | None, type[HarnessError]] = {kind.exit_code: kind for kind in (UsageError, DataError)}
    return kinds.get(code, MethodError)(f"{said}; see {job.log}")


def _end(running: list[_Job]) -> None:
    """Ask the jobs to save what they have and end."""
    for job in running:
        job.process.terminate()
    for job in running:
        job.process.join(10)
        if job.process.exitcode is None:
            job.process.kill()
