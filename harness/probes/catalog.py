"""Registry of the probes: names, summaries, and the functions that measure."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError, unknown

if TYPE_CHECKING:  # names are listed for shell completion, which does not wait for torch
    from pydantic import JsonValue
    from torch import Tensor

    from harness.compute import Compute
    from harness.model import MultiTaskModel
    from harness.probes.candidate import Candidate, Inputs, Setting


@dataclass(frozen=True)
class BuiltIn:
    """A probe whose value is the record's field of the same name.

    Attributes:
        summary: A line on what it measures, for ``harness ls probes``.
        measure: ``module:function`` that fills the record of one candidate at a time. None for what is measured of all
            candidates together, with interleaved calls (`harness.measurement.interleaved`).
        of_machine: Whether another machine gives another value.
    """

    summary: str
    measure: str | None = None
    of_machine: bool = True

    def load(self) -> Callable[[Candidate, MultiTaskModel, Inputs, Setting], Sequence[str]] | None:
        """Return what fills the record and returns the warnings on its value; None where all are measured together."""
        return None if self.measure is None else pkgutil.resolve_name(self.measure)


# Functions are named, not imported: the names are listed for shell completion, which does not wait for torch.
PROBES: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "macs": BuiltIn(
            "multiply-accumulates per image: dense, ideal and executed, by part and by task, and what three "
            "libraries count",
            "harness.probes.macs:fill_macs",
            of_machine=False,
        ),
        "storage": BuiltIn(
            "bytes of the artifact: by file and part, what each task adds, and zipped",
            "harness.probes.storage:fill_storage",
            of_machine=False,
        ),
        "memory": BuiltIn("bytes of parameters and buffers, and the peak at work", "harness.probes.memory:fill_memory"),
        "energy": BuiltIn("joules per image, where the device has a counter", "harness.probes.energy:fill_energy"),
        "ceilings": BuiltIn("the machine's peak matmul rate and copy bandwidth (roofline)"),
        "latency": BuiltIn(
            "milliseconds of a forward pass: percentiles, relative to the reference, and as a multiple of the "
            "roofline's lower bound; images per second from disk to predictions"
        ),
    }
)
"""The one registry of built-in probes by name, in the order in which they run: the lower bound on the latency follows
from the MACs and the roofline, which so come before it."""

INTERLEAVED = tuple(name for name, probe in PROBES.items() if probe.measure is None)
"""Probes that are measured of all candidates together."""

_given: dict[str, Probe] = {}
"""Probes of plug-ins, which have no field in the record, by name."""


@dataclass(frozen=True)
class Probe:
    """A cost of one model that is stored below ``custom`` in the record. Making it registers it.

    Attributes:
        name: Its name for ``--probe`` and in the record.
        summary: A line on what it measures, for ``harness ls probes``.
        measure: Model in evaluation mode, images [B, 3, H, W] on its device, and device with arithmetic, to a value
            of plain JSON, units in the names of its keys. It may fail: the value is then null and the record says why.

    Raises:
        UsageError: the name is that of another probe.
    """

    name: str
    summary: str
    measure: Callable[[MultiTaskModel, Tensor, Compute], JsonValue]
    is_probe: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # A plug-in file that is loaded twice registers its probe again, which takes nobody's name.
        held = _given.get(self.name)
        if self.name in PROBES or (held is not None and held.measure.__module__ != self.measure.__module__):
            raise UsageError(f"the name {self.name!r} is already taken in probes; choose another")
        _given[self.name] = self


def known() -> dict[str, str]:
    """Return all probes with their summaries, in the order in which they run."""
    built_in = {name: probe.summary for name, probe in PROBES.items()}
    return built_in | {name: probe.summary for name, probe in _given.items()}


def custom(names: Sequence[str]) -> Iterator[Probe]:
    """Yield those of the named probes that have no field in the record."""
    return (_given[name] for name in names if name in _given)


NONE = "none"
"""Stands for no probe at all."""


def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return the probes that are asked for, in the order in which they run.

    Args:
        names: Names of probes; empty for all known ones, ``none`` alone for none.

    Raises:
        UsageError: an unknown name, or ``none`` with others.
    """
    if list(names) == [NONE]:
        return ()
    for name in names:
        if name == NONE:
            raise UsageError(f"--probe {NONE}: leaves no probe; do not name others with it")
        if name not in known():
            raise UsageError(f"--probe: {unknown('probe', name, [*known(), NONE])}")
    return tuple(name for name in known() if not names or name in names)
