"""Costs of one model at a time: MACs, storage, memory, energy, and the probes of plug-ins."""

import torch

from harness.measurement.outcome import Outcome
from harness.model import check_predictions
from harness.probes import catalog
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.probes.memory import count_parameters
from harness.probes.prepare import prepare_call
from harness.records.schema import json_value


def measure_alone(candidate: Candidate, inputs: Inputs, setting: Setting, outcome: Outcome) -> bool:
    """Measure the costs of one model that its record does not have yet, and write the record after each.

    Returns:
        Whether the model predicts at all.
    """
    record = candidate.record
    lacking = candidate.lacking()
    if not lacking:
        return True
    # 1. One forward pass: a method that cannot predict is measured no further, and the others go on.
    try:
        model = candidate.load(setting.compute)
        first = inputs.first()
        predictions = prepare_call(model, first, setting.compute)()
        check_predictions(predictions, first, model.problem, model.problem.names)
    except (Exception, SystemExit) as error:  # whatever a method raises is its failure alone
        outcome.fail(candidate, error)
        candidate.write()
        return False
    record.parameters = record.parameters or count_parameters(model, candidate.method)
    if set(model.problem.names) != set(candidate.tasks):
        outcome.note(candidate, f"the costs are of all tasks of the artifact: {', '.join(model.problem.names)}")
    # 2. Built-in probes. Each value is written at once, so that what breaks later costs nothing that is measured.
    for probe in lacking:
        if probe in catalog.PROBES and (fill := catalog.PROBES[probe].load()) is not None:
            with outcome.guard(candidate, probe):
                for line in fill(candidate, model, inputs, setting):
                    outcome.note(candidate, line)
            candidate.write()
    # 3. Probes of plug-ins, whose values are stored below `custom`.
    for custom in catalog.custom(lacking):
        with outcome.guard(candidate, custom.name), torch.inference_mode(), setting.compute.autocast():
            images = inputs.batch(setting.batch_sizes[0]).to(setting.compute.device)
            record.custom[custom.name] = json_value(custom.measure(model.eval(), images, setting.compute))
        candidate.write()
    return True
