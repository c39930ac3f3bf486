"""All costs of the methods of one command on one data set."""

from collections.abc import Sequence

from harness.measurement.interleaved import measure_together
from harness.measurement.outcome import Outcome
from harness.measurement.per_model import measure_alone
from harness.measurement.stale import renew
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.progress import RunProgress


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
    renew(candidates, setting.compute.device)
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
