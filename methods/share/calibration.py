"""Calibration: the token gate of every block, chosen on training images within a budget of accuracy."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harness.method import Score
from harness.methods.share.block import Site
from harness.methods.share.execution import Tokens
from harness.methods.share.model import SharedNets
from harness.records.delta_m import delta_m

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Fractions of active tokens to choose from."""


def calibrate(model: SharedNets, score: Score, budget: float) -> None:
    """Set the gates of every sub-task that was trained: the smallest fractions of tokens that the budget allows.

    First the smallest fraction that is the same for all blocks; then each block is narrowed further, from front to back
    (as DeltaCNN tunes its thresholds, Parger et al., CVPR 2022).

    Args:
        model: Trained; its gates are set.
        score: Scores the model on training images.
        budget: Points of multi-task gain that all gates together may cost against dense runs. The base task costs
            nothing, so each of the others may lose the budget times tasks over sub-tasks.
    """
    # The gain is a mean over tasks: of T tasks, each of S sub-tasks may lose budget T / S points.
    each = budget * len(model.problem.names) / max(len(model.deltas), 1)
    for task in model.deltas:
        if task in model.calibrated:
            continue
        _narrow(model, task, each, _Loss(model, task, score))
        if model.options.policy == "threshold":
            _set_thresholds(model, task, score)
        model.calibrated.add(task)


class _Loss:
    """Relative accuracy that gates cost a sub-task, in points; infinite where it cannot be had."""

    def __init__(self, model: SharedNets, task: str, score: Score) -> None:
        self.model, self.task, self.score = model, task, score
        with model.executed_as(mode="dense"):
            self.dense = score(model, [task])

    def __call__(self) -> float:
        with self.model.executed_as(mode="gated", policy="top-k"):
            gain = delta_m(self.score(self.model, [self.task]), self.dense).value
        return math.inf if gain is None else -gain


def _narrow(model: SharedNets, task: str, budget: float, loss: _Loss) -> None:
    """Choose the fractions of one sub-task."""
    # 1. One fraction for all blocks; with every token active nothing is lost, so the last one is not tried.
    for fraction in FRACTIONS:
        model.gates[task] = model.uniform_gates(fraction)
        if fraction == FRACTIONS[-1] or loss() <= budget:
            break
    # 2. Each block further, while the others stay; nested tokens from the last, for fewer before are fewer behind, too.
    gates = model.gates[task]
    blocks = model.own_part(task).blocks
    for block in reversed(blocks) if model.options.engine == "tokens" else blocks:
        for fraction in FRACTIONS[: FRACTIONS.index(gates[block].fraction)]:
            original, gates[block] = gates[block], replace(gates[block], fraction=fraction)
            if loss() <= budget:
                break
            gates[block] = original


def _set_thresholds(model: SharedNets, task: str, score: Score) -> None:
    """Set thresholds that let through as many tokens of the training images as the fractions do, on average."""
    seen: dict[tuple[int, Site], list[float]] = defaultdict(list)

    def observe(index: int, site: Site, tokens: Tokens | None, change: Tensor) -> None:
        size = change.square().mean(-1).sqrt()  # [B, N]
        cut = torch.quantile(size, 1 - model.gates[task][index].fraction, dim=1)
        seen[index, site].append(float(cut.mean()))

    with model.executed_as(mode="gated", policy="top-k"), model.observed_by(observe):
        score(model, [task])
    for index, gate in model.gates[task].items():
        if index in model.own_part(task).blocks:
            low, middle, high = (float(np.mean(seen.get((index, site), [0.0]))) for site in Site)
            model.gates[task][index] = replace(gate, thresholds=(low, middle, high))
