"""The probes by name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.errors import UsageError, unknown

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

NONE = "none"
"""Stands for no probe at all."""


def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return the probes that are asked for, in the order in which they run.

    Args:
        names: Names of probes; empty for all of them, ``none`` alone for none.

    Raises:
        UsageError: an unknown name, or ``none`` beside others.
    """
    if list(names) == [NONE]:
        return ()
    for name in names:
        if name == NONE:
            raise UsageError(f"--probe {NONE}: leaves no probe; do not name others beside it")
        if name not in PROBES:
            raise UsageError(f"--probe: {unknown('probe', name, [*PROBES, NONE])}")
    return tuple(name for name in PROBES if not names or name in names)
