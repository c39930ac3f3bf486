"""Scores of guesses without a network on a data set, by the meters of a protocol: the floor under every table.

The commonest class of the training labels everywhere (for saliency the salient one), the mean depth, the mean normal,
and for boundaries a Sobel filter of the grey image. Printed are the headline metrics, and what a method reaches that is
15 % better.

Usage: python benchmarks/trivial_guesses.py [-d nyud-synth] [--protocol invpt] [--data-root FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.compute import Compute
from harness.data.loading import eval_batches
from harness.data.open import OpenedData, open_data
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.registry import load_dataset
from harness.run.evaluate import evaluate
from harness.tasks import build_task

IGNORE = 255
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
MARGIN = 0.15


class Guesses(MultiTaskModel):
    """Constant maps of every task, and edges of the image itself."""

    def __init__(self, problem: Problem, constants: dict[str, Tensor]) -> None:
        super().__init__(problem)
        self.constants = constants

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Return maps [B, C, H, W]; of boundaries logits, as the meters take them."""
        batch, _, height, width = images.shape
        maps = {}
        for task in tasks or self.problem.names:
            if task == "boundary":
                grey = images.mean(1, keepdim=True)
                kernels = torch.stack([SOBEL, SOBEL.T])[:, None]
                strength = F.conv2d(F.pad(grey, (1, 1, 1, 1), "replicate"), kernels).norm(dim=1, keepdim=True)
                share = strength / strength.amax((1, 2, 3), keepdim=True)
                maps[task] = share.clamp(1e-4, 1 - 1e-4).logit()
            else:
                maps[task] = self.constants[task][None, :, None, None].expand(batch, -1, height, width)
        return maps


def constants(opened: OpenedData) -> dict[str, Tensor]:
    """Return the guess of every task but boundaries, from all training labels: [C] each."""
    assert opened.train is not None
    scenes, transform = opened.calibration(len(opened.train))
    totals: dict[str, Tensor] = {}
    for batch in eval_batches(scenes, transform, 1):
        for spec in opened.problem:
            if spec.name == "boundary":
                continue
            label = batch.labels[build_task(spec).scored_label(opened.protocol)].double().flatten(2)[0]  # [C, pixels]
            valid = ((label != IGNORE) & label.isfinite()).all(0)
            if spec.name in ("depth", "normals"):
                valid &= (label != 0).any(0)
                value = torch.cat([label[:, valid].sum(1), valid.sum()[None].double()])
            else:
                value = torch.bincount(label[0, valid].long(), minlength=max(spec.channels, 2)).double()
            totals[spec.name] = totals.get(spec.name, 0) + value
    found = {}
    for task, total in totals.items():
        if task in ("depth", "normals"):
            found[task] = (total[:-1] / total[-1]).float()
        elif task == "saliency":
            found[task] = torch.tensor([-9.0, 9.0])
        else:
            found[task] = F.one_hot(total.argmax(), len(total)).float()
    return found


def main() -> None:
    """Print one line per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--dataset", default="nyud-synth")
    parser.add_argument("--protocol", default="invpt")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    protocol = Protocol.profile(options.protocol)
    opened = open_data(load_dataset(options.dataset), options.data_root, (), protocol, None, training=True)
    model = Guesses(opened.problem, constants(opened))
    tasks = {spec.name: build_task(spec) for spec in opened.problem}
    compute = Compute(torch.device("cpu"))
    batches = eval_batches(opened.val, opened.transform, 4)
    scores = evaluate(model, batches, len(opened.val), tasks, opened.protocol, compute, RunProgress(quiet=True))
    print(f"{options.dataset}, {len(opened.val)} val images, protocol {options.protocol}")
    for task, metrics in scores.items():
        name, metric = next(iter(metrics.items()))
        assert metric.value is not None
        wanted = metric.value * (1 + MARGIN if metric.higher_is_better else 1 - MARGIN)
        print(f"{task:10} {name:8} {metric.value:8.4f}   15 % better: {wanted:.4f} [{metric.unit}]")


if __name__ == "__main__":
    main()
