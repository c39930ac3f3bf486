"""Stale costs: those of another machine or of another timing session."""

from collections.abc import Sequence

import torch

from harness.measurement.candidate import Candidate
from harness.probes.environment import environment, system_id
from harness.records import Record

TIMED = ("ceilings", "latency")
"""Probes that are measured for all methods in one go."""

_OF_THE_MACHINE = ("memory", "energy", *TIMED)


def holds(record: Record, probe: str) -> bool:
    """Return whether a record has the figure of a probe."""
    if probe == "storage":  # older records hold the sizes of the files alone
        return record.storage is not None and record.storage.zipped_bytes is not None
    if probe not in Record.model_fields:
        return probe in record.custom
    return bool(getattr(record, probe))


def renew(candidates: Sequence[Candidate], device: torch.device) -> None:
    """Drop stale costs: those of another machine or of another timing session than the ones measured next.

    Figures of one record are of one machine, and ratios need methods whose calls were interleaved. So when a record
    lacks a figure of the machine it drops all that another machine gave, and when one of the candidates lacks its
    latency, or the latencies are of several sessions, all of them drop theirs.
    """
    system = environment(device)
    here = system_id(system)
    for candidate in candidates:
        record, wanted = candidate.record, _wanted(candidate, _of_the_machine(candidate.probes))
        if record.system_id != here and not all(holds(record, probe) for probe in wanted):
            _move(record, here)
            record.environment = system
    timed = [candidate for candidate in candidates if _wanted(candidate, TIMED)]
    complete = all(holds(one.record, probe) for one in timed for probe in _wanted(one, TIMED))
    sessions = {tuple(latency.sampling.session for latency in one.record.latency) for one in timed}
    if not complete or len(sessions) > 1:
        for candidate in timed:
            _drop(candidate.record, TIMED)


def _wanted(candidate: Candidate, among: Sequence[str]) -> list[str]:
    return [probe for probe in candidate.probes if probe in among]


def _move(record: Record, here: str) -> None:
    """Make a record's costs those of this machine."""
    dropped = [probe for probe in (*_OF_THE_MACHINE, *record.custom) if holds(record, probe)]
    _drop(record, dropped)
    for probe in dropped:
        record.unmeasured[probe] = f"was measured on {record.system_id}; the other costs are of another machine"
    record.warnings.append(f"costs were measured on {here}; the run was made on {record.system_id}")
    record.system_id = here


def _drop(record: Record, probes: Sequence[str]) -> None:
    for probe in probes:
        if probe in record.custom:
            del record.custom[probe]
        else:
            setattr(record, probe, [] if probe == "latency" else None)


def _of_the_machine(probes: Sequence[str]) -> tuple[str, ...]:
    """Return the probes whose values another machine may change; of those of plug-ins that is assumed."""
    return (*_OF_THE_MACHINE, *(probe for probe in probes if probe not in Record.model_fields))
