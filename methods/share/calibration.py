"""Choosing the gate of every block on training images, within a budget of accuracy."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harness.method import Score
from harness.methods.share.execution import SITES
from harness.methods.share.model import SharedNets
from harness.methods.share.rows import Rows
from harness.records.delta_m import delta_m

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Shares of active rows to choose from."""


def calibrate(model: SharedNets, score: Score, budget: float) -> None:
    """Set the gates of every sub-task that was trained: the smallest shares of rows that the budget allows.

    First the smallest share for all blocks alike; then each block is narrowed further, from the front to the back (as
    DeltaCNN tunes its thresholds, Parger et al., CVPR 2022).

    Args:
        model: Trained; its gates are set.
        score: Scores the model on training images.
        budget: Points of multi-task gain that all gates together may cost against dense runs. The base task costs
            nothing, so each of the others may lose the budget times tasks over sub-tasks.
    """
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
    """Choose the shares of one sub-task."""
    for share in SHARES:
        model.gates[task] = model.uniform_gates(share)
        if share == SHARES[-1] or loss() <= budget:
            break
    gates = model.gates[task]
    for block in model.own_blocks(task):
        for share in SHARES[: SHARES.index(gates[block].share)]:
            held, gates[block] = gates[block], replace(gates[block], share=share)
            if loss() <= budget:
                break
            gates[block] = held


def _set_thresholds(model: SharedNets, task: str, score: Score) -> None:
    """Set thresholds that let through as many rows of the training images as the shares do, on average."""
    seen: dict[tuple[int, str], list[float]] = defaultdict(list)

    def observe(index: int, site: str, rows: Rows | None, change: Tensor) -> None:
        size = change.square().mean(-1).sqrt()
        seen[index, site].append(float(torch.quantile(size, 1 - model.gates[task][index].share, dim=1).mean()))

    with model.executed_as(mode="gated", policy="top-k"), model.observed_by(observe):
        score(model, [task])
    for index, gate in model.gates[task].items():
        if index in model.own_blocks(task):
            low, middle, high = (float(np.mean(seen.get((index, site), [0.0]))) for site in SITES)
            model.gates[task][index] = replace(gate, thresholds=(low, middle, high))
