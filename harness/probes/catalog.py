"""The probes by name."""

from __future__ import annotations

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

PROBES: Mapping[str, str] = MappingProxyType(
    {
        "macs": "multiply-accumulates per image: dense, ideal and executed, by part and by task, and what three "
        "libraries count",
        "storage": "bytes of the artifact: by file and part, what each task adds, and zipped",
        "memory": "bytes of parameters and buffers, and the peak at work",
        "energy": "joules per image of a GPU",
        "ceilings": "the machine's own matrix rate and copy bandwidth",
        "latency": "milliseconds of a forward pass: percentiles, relative to the reference, and as a multiple of the "
        "machine's floor; images per second from disk to predictions",
    }
)
"""Probe to what it measures, in the order in which they run."""

_given: dict[str, Probe] = {}
"""Probes without a field of their own in the record, by name."""


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
        held = _given.get(self.name)
        if self.name in PROBES or (held is not None and held.measure.__module__ != self.measure.__module__):
            raise UsageError(f"the name {self.name!r} is already taken in probes; choose another")
        _given[self.name] = self


def known() -> dict[str, str]:
    """Return all probes with their summaries, in the order in which they run."""
    return {**PROBES, **{name: probe.summary for name, probe in _given.items()}}


def custom(names: Sequence[str]) -> Iterator[Probe]:
    """Yield those of the named probes that have no field of their own in the record."""
    return (_given[name] for name in names if name in _given)


NONE = "none"
"""Stands for no probe at all."""


def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return the probes that are asked for, in the order in which they run.

    Args:
        names: Names of probes; empty for all known ones, ``none`` alone for none.

    Raises:
        UsageError: an unknown name, or ``none`` beside others.
    """
    if list(names) == [NONE]:
        return ()
    for name in names:
        if name == NONE:
            raise UsageError(f"--probe {NONE}: leaves no probe; do not name others beside it")
        if name not in known():
            raise UsageError(f"--probe: {unknown('probe', name, [*known(), NONE])}")
    return tuple(name for name in known() if not names or name in names)
