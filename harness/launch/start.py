"""Start of a matrix by an engine, to its outcome or to what its last job printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config import RunConfig
from harness.errors import HarnessError, UsageError
from harness.launch.local import run_locally
from harness.launch.plan import plan, printed
from harness.measurement import Outcome
from harness.progress import RunProgress
from harness.run import run

Launcher = Literal["local", "slurm", "ray"]


@dataclass(frozen=True)
class Elsewhere:
    """Outcome of a matrix whose costs another process measured.

    Attributes:
        printed: What it printed: the tables.
        failures: Heads of messages and errors of the cells, and of that process.
    """

    printed: str
    failures: list[tuple[str, HarnessError]]


def launch(
    config: RunConfig, launcher: Launcher, jobs: int | None, arguments: Mapping[str, Any]
) -> Outcome | Elsewhere:
    """Run the cells of a matrix as jobs.

    Args:
        config: The matrix.
        launcher: What starts them.
        jobs: Most jobs at the same time; None for one on this machine, and for no limit elsewhere.
        arguments: Of the engine, from ``--launcher-arg``.

    Raises:
        UsageError: the engine is not installed, or refuses an argument.
    """
    progress = RunProgress(config.quiet)
    if launcher == "local":
        if arguments:
            raise UsageError(f"--launcher-arg {next(iter(arguments))}: --launcher local takes none")
        failed = run_locally(config, jobs or 1, progress)
        return run(config, failed=failed)  # reads the cells, and measures their costs together
    if launcher == "slurm":
        from harness.launch.slurm import run_on_slurm as run_elsewhere
    else:
        from harness.launch.ray import run_on_ray as run_elsewhere
    planned = plan(config)
    failures = run_elsewhere(planned, jobs, arguments, progress)
    told = printed(planned.last.log)
    heads = {work.cell: f"{work.title}:" for work in (*planned.works, planned.last)}  # of a cell, its own is the last
    if len(failures) > 1:  # the last job has no more to say than the cells
        failures.pop(planned.last.cell, None)
    return Elsewhere(
        told.read_text(encoding="utf-8") if told.is_file() else "",
        [(heads[cell], error) for cell, error in failures.items()],
    )
