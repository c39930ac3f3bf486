"""Costs of one model at a time: MACs, storage, memory, energy."""

import functools
import itertools
from collections.abc import Callable, Sequence

import torch

from harness.compute import cudnn_benchmark
from harness.counting import count_macs
from harness.measurement.candidate import Candidate, Inputs, Setting
from harness.measurement.outcome import Outcome
from harness.measurement.stale import holds
from harness.method import MultiTaskModel, accounting_of
from harness.model import check_predictions
from harness.probes import catalog
from harness.probes.energy import measure_energy
from harness.probes.macs import disagreements, measure_macs
from harness.probes.memory import count_parameters, measure_memory
from harness.probes.prepare import prepare_call, release_compiled
from harness.probes.storage import measure_storage

_Probe = Callable[[Candidate, MultiTaskModel, Inputs, Setting], Sequence[str]]
"""Fills a figure of the candidate's record and returns what a reader of it should know."""


def measure_alone(candidate: Candidate, inputs: Inputs, setting: Setting, outcome: Outcome) -> bool:
    """Measure the costs of one model that its record does not have yet, and write the record after each.

    Returns:
        Whether the model predicts at all.
    """
    record = candidate.record
    lacking = [probe for probe in candidate.probes if not holds(record, probe)]
    if not lacking:
        return True
    try:
        model = candidate.load(setting.compute)
        first = inputs.first()
        predictions = prepare_call(model, first, setting.compute)()
        check_predictions(predictions, first, model.problem, model.problem.names)
    except (Exception, SystemExit) as error:  # whatever a method raises is its failure, and leaves the others alone
        outcome.fail(candidate, error)
        candidate.write()
        return False
    record.parameters = record.parameters or count_parameters(model)
    if set(model.problem.names) != set(candidate.tasks):
        outcome.note(candidate, f"the costs are of all tasks of the artifact: {', '.join(model.problem.names)}")
    for probe in lacking:
        if probe in _MEASURES:
            with outcome.guard(candidate, probe):
                for line in _MEASURES[probe](candidate, model, inputs, setting):
                    outcome.note(candidate, line)
            candidate.write()
    for custom in catalog.custom(lacking):
        with outcome.guard(candidate, custom.name), torch.inference_mode(), setting.compute.autocast():
            images = inputs.batch(setting.batch_sizes[0]).to(setting.compute.device)
            record.custom[custom.name] = custom.measure(model.eval(), images, setting.compute)
        candidate.write()
    return True


def _macs(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> Sequence[str]:
    """Count on every image where the method depends on it, else on the first."""
    count = None if accounting_of(candidate.method).data_dependent else 1
    images = (image.to(setting.compute.device) for image in itertools.islice(inputs.images(), count))
    macs = candidate.record.macs = measure_macs(candidate.method, model, images, setting.compute)
    first = inputs.first().to(setting.compute.device)
    with torch.inference_mode(), setting.compute.autocast():
        executed = count_macs(lambda: model(first)).macs  # the libraries saw the first image alone
    unseen = [
        f"MACs leave out {calls} calls of {name}, for which there is no rule" for name, calls in macs.unseen.items()
    ]
    return [*unseen, *disagreements(executed, macs.counters)]


def _storage(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> Sequence[str]:
    parts = accounting_of(candidate.method).bytes_per_part(model, candidate.artifact)
    candidate.record.storage = measure_storage(candidate.artifact, parts, model.problem.names)
    return ()


def _memory(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> Sequence[str]:
    images = inputs.batch(setting.batch_sizes[0])
    candidate.record.memory = measure_memory(model, images, setting.compute)
    return ()


def _energy(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> Sequence[str]:
    """Measure what is timed; it is prepared at its first call, so that nothing is compiled where there is no figure."""
    size = setting.batch_sizes[0]

    @functools.cache
    def prepared() -> Callable[[], object]:
        return prepare_call(model, inputs.batch(size), setting.compute, setting.execution)

    with cudnn_benchmark(setting.compute.device):  # as the latency is timed
        candidate.record.energy = measure_energy(lambda: prepared()(), size, setting.compute.device)
    if setting.execution.compile is not None:
        release_compiled()  # its memory pools would be in the peak of the next method
    return ()


_MEASURES: dict[str, _Probe] = {"macs": _macs, "storage": _storage, "memory": _memory, "energy": _energy}
