"""All costs of the methods of one command on one data set: stale ones are dropped, missing ones are measured."""

from collections.abc import Sequence

import torch

from harness.measurement.interleaved import measure_together
from harness.measurement.outcome import Outcome
from harness.measurement.per_model import measure_alone
from harness.probes.candidate import Candidate, Inputs, Setting, holds
from harness.probes.catalog import INTERLEAVED, PROBES
from harness.probes.environment import environment, system_id
from harness.progress import RunProgress
from harness.records import Record

_OF_MACHINE = tuple(name for name, probe in PROBES.items() if probe.of_machine)
"""Probes whose values another machine changes."""


def measure(
    candidates: Sequence[Candidate], inputs: Inputs, setting: Setting, outcome: Outcome, progress: RunProgress
) -> None:
    """Measure every requested cost that a record does not have yet.

    Each record is written as soon as it has a further value. A probe that fails leaves null and the reason; a
    candidate that does not predict is left out of all that follows.

    Args:
        candidates: Of one data set; their records are of the precision of ``setting``.
        inputs: Images of the data set, as large as the models take them.
        setting: How costs are measured.
        outcome: Takes warnings and failures.
        progress: Where progress is shown.
    """
    drop_stale(candidates, setting.compute.device)
    for candidate in candidates:
        # Reasons of an earlier attempt go with the values that are measured now.
        record, lacking = candidate.record, candidate.lacking()
        for probe in lacking:
            record.unmeasured.pop(probe, None)
        if lacking:  # records of the first schema know neither costs nor the device
            record.schema_version, record.device = 3, setting.compute.device.type
    able = []
    with progress.bar("measure", len(candidates), unit="methods") as report:
        for done, candidate in enumerate(candidates, start=1):
            if measure_alone(candidate, inputs, setting, outcome):
                able.append(candidate)
            report(done)
    # Latencies last and together: their calls are interleaved, and the bound on them needs the MACs.
    measure_together(able, inputs, setting, outcome, progress)


def drop_stale(candidates: Sequence[Candidate], device: torch.device) -> None:
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
