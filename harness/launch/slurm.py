"""Jobs of a matrix on a Slurm cluster, by submitit (extra ``slurm``); on this machine with ``cluster=local``."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, MethodError, UsageError, described
from harness.launch.plan import TRIES, Plan, Work, died, failure, printed
from harness.progress import RunProgress

PROGRAM = (sys.executable, "-m", "harness")
"""The command that jobs run."""

_SAVING_SECONDS = 60.0
"""Longest wait for a job that was asked to save; submitit asks 90 seconds before the end."""

_LOOK = 2.0
"""Seconds between two looks at the jobs."""

_DEFAULTS = {"name": "harness", "timeout_min": 240}
_MOST_REQUEUES = 1000
"""A training that is longer than the time limit of a job is requeued until it is done."""


class Command:
    """A command as a job that can be requeued: asked to make room it saves its state and ends, and goes on later.

    Args:
        program: What runs it.
        work: The command after that, and the file for what it says.
    """

    def __init__(self, program: Sequence[str], work: Work) -> None:
        self.program, self.work = tuple(program), work
        self.place = Path.cwd()  # paths may be relative to it
        self.child: int | None = None

    def __call__(self) -> int:
        """Run it to its end, three times if it is killed; return its exit code."""
        log = self.place / self.work.log
        for _ in range(TRIES):
            with log.open("ab") as said, printed(log).open("wb") as out, Path(os.devnull).open("rb") as nothing:
                words = [*self.program, *self.work.words]
                process = subprocess.Popen(words, stdin=nothing, stdout=out, stderr=said, cwd=self.place)  # noqa: S603 - our own
                self.child = process.pid
                code = process.wait()
                self.child = None
            if not died(code):
                break
        return code

    def checkpoint(self) -> Any:
        """Save the state, and return what is to be requeued. submitit calls it when the time or the place is up."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None:
            # The signal that leads here interrupts `wait`, whose lock is held: the child is asked and awaited directly.
            os.kill(self.child, signal.SIGTERM)
            end = time.monotonic() + _SAVING_SECONDS
            while time.monotonic() < end and os.waitpid(self.child, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
        return DelayedSubmission(Command(self.program, self.work))


def run_on_slurm(
    plan: Plan, jobs: int | None, arguments: Mapping[str, Any], progress: RunProgress
) -> dict[int, HarnessError]:
    """Submit the jobs of a matrix, and the one that measures the costs when they are done; wait for all.

    When this process is ended the jobs stay in the queue; the same command with the same results folder reads them.

    Args:
        plan: The jobs.
        jobs: Most cells at the same time; None for as many as the cluster takes.
        arguments: Parameters of `submitit.AutoExecutor`, with ``cluster`` among them.
        progress: Where progress is shown.

    Returns:
        The failures by number of the cell; that of the last job after all.

    Raises:
        UsageError: submitit is not installed, finds no cluster, or refuses an argument.
    """
    executor = _executor(plan, arguments)
    submitted: list[Any] = []
    # 1. Job k waits for those it needs, and for job k - N where N may run at once.
    for number, work in enumerate(plan.works):
        before = {place: submitted[place] for place in work.after}
        if jobs is not None and number >= jobs:
            before[number - jobs] = submitted[number - jobs]
        submitted.append(_submit(executor, work, list(before.values())))
    # 2. The costs, on one machine that has nothing else to do for this command.
    last = _submit(executor, plan.last, submitted)
    progress.say(f"{len(submitted)} jobs and one for the costs are submitted; logs are in {plan.folder}")
    with progress.bar("matrix", len(submitted), unit="jobs") as report:
        while not last.done():
            report(sum(job.done() for job in submitted))
            time.sleep(_LOOK)
    ended = zip((*plan.works, plan.last), (*submitted, last), strict=True)
    failures: dict[int, HarnessError] = {}
    for work, job in ended:
        if fault := _fault(job, work):
            failures.setdefault(work.cell, fault)
    return failures


def _executor(plan: Plan, arguments: Mapping[str, Any]) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "--launcher slurm: needs submitit; install it with pip install 'mtl-harness[slurm]'"
        ) from error
    given: dict[str, Any] = {**_DEFAULTS, **arguments}
    made = {key: given.pop(key) for key in list(given) if key.endswith("_max_num_timeout")}
    made = {"slurm_max_num_timeout": _MOST_REQUEUES, "local_max_num_timeout": _MOST_REQUEUES} | made
    try:
        executor = submitit.AutoExecutor(folder=plan.folder, cluster=given.pop("cluster", "slurm"), **made)
        executor.update_parameters(**given)
    except (RuntimeError, ValueError, NameError, AssertionError, TypeError) as error:
        raise UsageError(f"--launcher slurm: {described(error)}") from error
    return executor


def _submit(executor: Any, work: Work, before: Sequence[Any]) -> Any:
    """Submit a job that begins when others have ended, whatever became of them: they say it themselves."""
    if executor.cluster == "slurm":
        after = {"dependency": "afterany:" + ":".join(job.job_id for job in before)} if before else {}
        executor.update_parameters(slurm_additional_parameters=after)
    else:  # nothing but a cluster keeps a queue
        for job in before:
            while not job.done():
                time.sleep(_LOOK / 10)
    return executor.submit(Command(PROGRAM, work))


def _fault(job: Any, work: Work) -> HarnessError | None:
    """Return the failure of a job that has ended; None for one that did what it should."""
    try:
        code = int(job.result())
    except Exception as error:  # of a job that the cluster ended
        return MethodError(f"was ended by the cluster ({described(error)}); see {job.paths.stderr}")
    return failure(code, work.log) if code else None
