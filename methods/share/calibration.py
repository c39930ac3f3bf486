"""Choosing the gate of every block on training images, within a budget of accuracy."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harness.method import Score
from harness.methods.share.execution import SITES
from harness.methods.share.model import SharedNets
from harness.methods.share.rows import Rows
from harness.tasks.delta_m import delta_m

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Shares of active rows to choose from."""


def calibrate(model: SharedNets, score: Score, budget: float) -> None:
    """Set the gates of every sub-task that was trained: per block the smallest share of rows that the budget allows.

    All blocks start at the largest share; they are narrowed from the front to the back (as DeltaCNN tunes its
    thresholds, Parger et al., CVPR 2022), block i of n as long as no more than i / n of the budget is spent.

    Args:
        model: Trained; its gates are set.
        score: Scores the model on training images.
        budget: Points of relative accuracy that each sub-task may lose against its dense run; no mean over tasks
            (multi-task gain) can then lose more.
    """
    for task in model.deltas:
        if task in model.calibrated:
            continue
        with model.executed_as(mode="dense"):
            dense = score(model, [task])

        def loss(task: str = task, dense: object = dense) -> float:
            with model.executed_as(mode="gated", policy="top-k"):
                return -(delta_m(score(model, [task]), dense).value or 0.0)  # type: ignore[arg-type]

        _narrow(model, task, budget, loss)
        if model.options.policy == "threshold":
            _set_thresholds(model, task, score)
        model.calibrated.add(task)


def _narrow(model: SharedNets, task: str, budget: float, loss: Callable[[], float]) -> None:
    """Narrow the blocks of one sub-task in order."""
    gates = model.gates[task] = model.uniform_gates(SHARES[-1])
    blocks = model.own_blocks(task)
    for place, block in enumerate(blocks, start=1):
        allowed = budget * place / len(blocks)
        for share in SHARES:
            gates[block] = replace(gates[block], share=share)
            if share == SHARES[-1] or loss() <= allowed:
                break


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
