"""Calibration: a walk over the static settings of every sub-task, from cheap to dear, within a budget of accuracy."""

from harness.method import Score
from harness.methods.share.corrections.accounting import own_macs
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.settings import Step
from harness.records.delta_m import delta_m


def calibrate(nets: CorrectedNets, score: Score, budget: float) -> None:
    """Set the setting of every sub-task that was trained: the first of its ladder that the budget allows.

    Args:
        nets: Trained; their settings are set, and what was found of those that were walked is kept.
        score: Scores the networks on held-out training images.
        budget: Points of multi-task gain that all choices together may cost against the dearest settings. The base
            task loses nothing, so each of the others may lose the budget times tasks over sub-tasks.
    """
    # The gain is a mean over tasks: of T tasks, each of S sub-tasks may lose budget T / S points.
    each = budget * len(nets.problem.names) / max(len(nets.corrections), 1)
    for task in nets.corrections:
        ladder = nets.correction(task).ladder
        if task in nets.calibrated or len(ladder) == 1:
            continue
        # 1. The dearest setting, which the others are compared with.
        nets.settings[task] = ladder[-1]
        reference = score(nets, [task])
        known = reference[task].value is not None
        dearest = Step(ladder[-1], own_macs(nets, task, ladder[-1]), 0.0 if known else None)
        # 2. From cheap to dear, as far as the first that may stay.
        walked = []
        for setting in ladder[:-1]:
            nets.settings[task] = setting
            gain = delta_m(score(nets, [task]), reference).value
            walked.append(Step(setting, own_macs(nets, task, setting), None if gain is None else -gain))
            if gain is not None and -gain <= each:
                break
        else:
            nets.settings[task] = ladder[-1]
        nets.calibrated[task] = [*walked, dearest]
