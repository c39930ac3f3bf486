"""Semantic boundary detection."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.metric import Metric
from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Meter, Task
from harness.tasks.pictures import grey_picture

POSITIVE_WEIGHT = 0.95
"""Weight of a boundary pixel in the loss; the others weigh 1 minus this (Xie and Tu, ICCV 2015)."""


class UnmeasuredBoundary(Meter):
    """Stands where the odsF meter will be: takes predictions and gives a null with the reason."""

    headline: ClassVar[str] = "odsf"

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take a batch and keep nothing of it."""

    def compute(self) -> dict[str, Metric]:
        """Return ``odsf`` as null."""
        return {
            "odsf": Metric(
                value=None,
                unit="fraction",
                higher_is_better=True,
                n=0,
                protocol="boundary.odsf",
                reason="boundary odsF is not measured by this version",
            )
        }


class Boundary(Task):
    """Boundary detection: weighted binary cross-entropy, scored by odsF."""

    name: ClassVar[str] = "boundary"
    title: ClassVar[str] = "Boundary"
    headline_title: ClassVar[str] = "odsF"
    higher_is_better: ClassVar[bool] = True
    weight: ClassVar[float] = 50.0

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the sigmoid, weighted, mean over valid pixels; 0 if there is none."""
        valid = target != IGNORE
        edge = (target == 1).to(prediction.dtype)
        weight = valid * (edge * POSITIVE_WEIGHT + (1 - edge) * (1 - POSITIVE_WEIGHT))
        total = F.binary_cross_entropy_with_logits(prediction, edge, weight, reduction="sum")
        return total / valid.sum().clamp(min=1)

    def meter(self, protocol: Protocol) -> Meter:
        """Return the meter of odsF."""
        return UnmeasuredBoundary()

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the probability of one prediction [1, H, W] in grey."""
        return grey_picture(prediction[0].float().sigmoid().cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in grey; ignored pixels are black."""
        label = target[0].float().cpu().numpy()
        return grey_picture(label, label == IGNORE)
