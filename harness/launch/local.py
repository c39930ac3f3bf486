"""Cells of a matrix in processes of this machine, side by side."""

import contextlib
import multiprocessing.connection
import multiprocessing.context
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.config import RunConfig
from harness.data.parallel import usable_cores
from harness.errors import HarnessError
from harness.launch.plan import TRIES, Work, died, failure, plan, printed
from harness.progress import RunProgress


@dataclass
class _Job:
    work: Work
    place: int
    process: BaseProcess
    tries: int


def run_locally(config: RunConfig, jobs: int, progress: RunProgress) -> dict[int, HarnessError]:
    """Run every cell of a matrix in a process of its own, and return the failures by number of the cell.

    With several at a time, parts of a training that do not need each other are processes of their own, too.

    A process that dies is started again and goes on from its checkpoint. Its threads are an even part of the cores,
    unless OMP_NUM_THREADS is set. When this process is ended, the jobs are ended as well, and can be resumed.

    Args:
        config: The matrix.
        jobs: Processes at the same time.
        progress: Where progress is shown.

    Raises:
        UsageError: the results folder cannot be written, or a name or option is wrong.
        DataError: a data set is missing or unusable.
    """
    works = plan(config, divided=jobs > 1).works
    waiting = [(place, 1) for place in range(len(works))]
    ended: set[int] = set()
    running: list[_Job] = []
    failures: dict[int, HarnessError] = {}
    try:
        with progress.bar(f"matrix, {jobs} at a time", len(works), unit="jobs") as report:
            while waiting or running:
                # 1. Jobs of cells that have failed are left out; the first ones that wait for nothing are started.
                left = [place for place, _ in waiting if works[place].cell in failures]
                ended.update(left)
                waiting = [entry for entry in waiting if entry[0] not in left]
                ready = [entry for entry in waiting if ended.issuperset(works[entry[0]].after)]
                for place, tries in ready[: jobs - len(running)]:
                    waiting.remove((place, tries))
                    running.append(_start(works[place], place, tries, jobs))
                # 2. What has ended.
                multiprocessing.connection.wait([job.process.sentinel for job in running])
                for job in [job for job in running if job.process.exitcode is not None]:
                    running.remove(job)
                    if died(job.process.exitcode) and job.tries < TRIES:
                        progress.say(f"{job.work.title} was killed; it is started again")
                        waiting.insert(0, (job.place, job.tries + 1))
                        continue
                    ended.add(job.place)
                    if job.process.exitcode != 0:
                        failures.setdefault(job.work.cell, failure(job.process.exitcode, job.work.log))
                    report(len(ended))
    except BaseException:
        _end(running)
        raise
    return failures


def _start(work: Work, place: int, tries: int, jobs: int) -> _Job:
    environment = {"OMP_NUM_THREADS": str(max(1, usable_cores() // jobs))} | dict(os.environ)
    process = _context().Process(target=_work, args=(["harness", *work.words], environment, work.log))
    with _environment(environment):  # of the process that all others are forked from
        process.start()
    return _Job(work, place, process, tries)


def _context() -> multiprocessing.context.SpawnContext | multiprocessing.context.ForkServerContext:
    """Return the way to start processes: forked from one that has the imports behind it, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    preload = ["harness.cli.run", "harness.run.matrix", "harness.registry.load", "harness.report.frontier"]
    context.set_forkserver_preload(preload)
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
    """Run a command as if it had been typed, its lines and what it prints in files."""
    import torch

    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # the process it was forked from may have another number
    # A job that is ended with its launcher must not get its Ctrl-C too: it has a group of its own.
    if hasattr(os, "setsid"):
        os.setsid()
    with Path(os.devnull).open("rb") as nothing, printed(log).open("wb") as out, log.open("ab") as said:
        for number, file in enumerate((nothing, out, said)):
            os.dup2(file.fileno(), number)
    sys.argv = words
    runpy.run_module("harness", run_name="__main__")


def _end(running: list[_Job]) -> None:
    """Ask the jobs to save what they have and end."""
    for job in running:
        job.process.terminate()
    for job in running:
        job.process.join(10)
        if job.process.exitcode is None:
            job.process.kill()
