"""Stale costs: those of another machine or of another timing session."""

from collections.abc import Sequence

import torch

from harness.probes.candidate import Candidate, holds
from harness.probes.catalog import INTERLEAVED, PROBES
from harness.probes.environment import environment, system_id
from harness.records import Record

_OF_MACHINE = tuple(name for name, probe in PROBES.items() if probe.of_machine)


def renew(candidates: Sequence[Candidate], device: torch.device) -> None:
    """Drop stale costs: those of another machine or of another timing session than the ones measured next.

    Values of one record are of one machine, and ratios need methods whose calls were interleaved. So when a record
    lacks a value of the machine it drops all that another machine gave, and when one of the candidates lacks its
    latency, or the latencies are of several sessions, all of them drop theirs.
    """
    system = environment(device)
    here = system_id(system)
    # 1. Another machine: the record moves to this one, and what only the other one could repeat goes.
    for candidate in candidates:
        record = candidate.record
        # Another machine may change the value of a plug-in's probe too.
        of_machine = [probe for probe in candidate.probes if probe in _OF_MACHINE or probe not in PROBES]
        if record.system_id != here and not all(holds(record, probe) for probe in of_machine):
            dropped = [probe for probe in (*_OF_MACHINE, *record.custom) if holds(record, probe)]
            _drop(record, dropped)
            for probe in dropped:
                record.unmeasured[probe] = f"was measured on {record.system_id}; the other costs are of another machine"
            record.warnings.append(f"costs were measured on {here}; the run was made on {record.system_id}")
            record.system_id, record.environment = here, system
    # 2. Another timing session: one that lacks its latency takes all others with it.
    timed = [candidate for candidate in candidates if set(candidate.probes) & set(INTERLEAVED)]
    complete = not any(set(one.lacking()) & set(INTERLEAVED) for one in timed)
    sessions = {tuple(latency.sampling.session for latency in one.record.latency) for one in timed}
    if not complete or len(sessions) > 1:
        for candidate in timed:
            _drop(candidate.record, INTERLEAVED)


def _drop(record: Record, probes: Sequence[str]) -> None:
    """Empty the fields of probes, and the entries of those of plug-ins."""
    for probe in probes:
        if probe in record.custom:
            del record.custom[probe]
        else:
            setattr(record, probe, [] if probe == "latency" else None)
