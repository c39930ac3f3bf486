"""Plan of a matrix: its cells and the parts of their trainings as commands that any engine can start, anywhere."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from harness.config import RunConfig
from harness.errors import DataError, HarnessError, MethodError, Terminated, UsageError
from harness.files import check_writable, digest, write_atomically
from harness.run.matrix import parts_to_train

FOLDER = ".launch"
"""Folder below the results with the configuration of a matrix and what its jobs said."""


TRIES = 3
"""Most starts of a job: one that was killed goes on from its checkpoint, unless it is killed each time."""


@dataclass(frozen=True)
class Work:
    """One job of a matrix.

    Attributes:
        title: What it does, for messages.
        cell: Number of its cell in the matrix; of the job that measures all, the number of cells.
        words: The command, after the name of the program.
        log: File for its lines on stderr; see `printed` for its table.
        after: Places of the jobs in the plan that it waits for.
    """

    title: str
    cell: int
    words: tuple[str, ...]
    log: Path
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The jobs of a matrix.

    Attributes:
        works: One per cell, behind those of the parts of its training; a job waits for earlier ones alone.
        last: The job that reads the cells and measures the costs of all together, when they are done.
        folder: Where jobs leave what they say.
    """

    works: tuple[Work, ...]
    last: Work
    folder: Path


def plan(config: RunConfig, divided: bool = True) -> Plan:
    """Return the jobs of a matrix; its configuration is written where they find it.

    Args:
        config: The matrix.
        divided: Whether parts of a training that do not need each other are jobs of their own.

    Raises:
        UsageError: the results folder cannot be written, or a name or option is wrong.
        DataError: a data set is missing or unusable.
    """
    content = config.model_dump_json(indent=1)
    file = config.output / FOLDER / f"{digest(content)[:12]}.json"
    check_writable("-o", config.output)
    write_atomically(file, content)
    base = ("run", "-C", str(file))
    names = cell_names(config)
    parts = parts_to_train(config) if divided else {}
    works: list[Work] = []
    for number, name in enumerate(names):
        words = (*base, "--shard", f"{number}/{len(names)}")
        places: dict[str, int] = {}
        for part in parts.get(number, []):
            log = file.with_suffix(f".{number}.{part.name}.log")
            after = tuple(places[other] for other in part.before)
            places[part.name] = len(works)
            works.append(Work(f"{name}, {part.name}", number, (*words, "--part", part.name), log, after))
        works.append(Work(name, number, words, file.with_suffix(f".{number}.log"), tuple(places.values())))
    last = Work("costs of all", len(names), (*base, "--collect"), file.with_suffix(".last.log"))
    return Plan(tuple(works), last, file.parent)


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


def printed(log: Path) -> Path:
    """Return the file with what a job printed, from that of its lines."""
    return log.with_suffix(".out")


def died(code: int | None) -> bool:
    """Return whether a process was ended by a signal, or by one that it answered."""
    return code is not None and (code < 0 or code == Terminated.exit_code)


def failure(code: int | None, log: Path) -> HarnessError:
    """Return the failure of a job from its exit code, with the last line it said."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line]
    said = lines[-1].removeprefix("harness: ") if lines else "it said nothing"
    if died(code):
        return MethodError(f"was killed {TRIES} times (exit code {code}); see {log}")
    kinds: dict[int | None, type[HarnessError]] = {kind.exit_code: kind for kind in (UsageError, DataError)}
    return kinds.get(code, MethodError)(f"{said}; see {log}")
