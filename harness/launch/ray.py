"""Jobs of a matrix on a Ray cluster (extra ``ray``), or on this machine without an ``address``."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError, MethodError, UsageError, described
from harness.launch.plan import TRIES, Plan, Work, failure
from harness.launch.slurm import PROGRAM, Command
from harness.progress import RunProgress

_PATIENCE = {"RAY_agent_register_timeout_ms": "120000", "RAY_raylet_start_wait_time_s": "120"}
"""Ray gives up on its own processes after 15 seconds unless told otherwise, which a loaded machine may need."""


def run_on_ray(
    plan: Plan, jobs: int | None, arguments: Mapping[str, Any], progress: RunProgress
) -> dict[int, HarnessError]:
    """Run the jobs of a matrix as tasks, and the one that measures the costs when they are done.

    A task whose machine or process is lost is started again, on the same results folder.

    Args:
        plan: The jobs.
        jobs: Most jobs at the same time; None for as many as there is room for.
        arguments: ``address`` of the cluster, and options of a task such as ``num_cpus`` and ``num_gpus``.
        progress: Where progress is shown.

    Returns:
        The failures by number of the cell; that of the last job after all.

    Raises:
        UsageError: Ray is not installed, does not start, or refuses an argument.
    """
    with _connected(arguments) as (ray, options):
        try:
            task = ray.remote(max_retries=TRIES - 1, retry_exceptions=False)(_run).options(**options)
        except (ValueError, TypeError) as error:
            raise UsageError(f"--launcher ray: {described(error)}") from error
        # Arguments that are results of tasks are waited for: those a job needs, and job k - N where N may run at once.
        sent: list[Any] = []
        for number, work in enumerate(plan.works):
            places = {*work.after, *([number - jobs] if jobs is not None and number >= jobs else [])}
            sent.append(task.remote(Command(PROGRAM, work), *(sent[place] for place in sorted(places))))
        last = task.remote(Command(PROGRAM, plan.last), *sent)
        waiting = list(sent)
        with progress.bar("matrix", len(sent), unit="jobs") as report:
            while waiting:
                _, waiting = ray.wait(waiting, num_returns=1)
                report(len(sent) - len(waiting))
        failures: dict[int, HarnessError] = {}
        for work, result in zip((*plan.works, plan.last), (*sent, last), strict=True):
            if fault := _fault(ray, result, work):
                failures.setdefault(work.cell, fault)
        return failures


@contextlib.contextmanager
def _connected(arguments: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError("--launcher ray: needs Ray; install it with pip install 'mtl-harness[ray]'") from error
    options = {"num_cpus": 1} | dict(arguments)
    try:
        ray.init(address=options.pop("address", None), include_dashboard=False, log_to_driver=False)
    except Exception as error:  # of many kinds
        raise UsageError(f"--launcher ray: does not start ({described(error)})") from error
    try:
        yield ray, options
    finally:
        ray.shutdown()


def _run(command: Command, *before: int) -> int:
    """Run a command in a process of its own when the others have ended; return its exit code."""
    return command()


def _fault(ray: Any, result: Any, work: Work) -> HarnessError | None:
    try:
        code = int(ray.get(result))
    except Exception as error:  # of a task whose machine was lost each time
        return MethodError(f"was ended by the cluster ({described(error)}); see {work.log}")
    return failure(code, work.log) if code else None
