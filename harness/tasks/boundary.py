"""Semantic boundary detection."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.boundary import PLAIN_THRESHOLDS, SEISM_THRESHOLDS, BoundaryRule
from harness.errors import UsageError
from harness.problem import BOUNDARY_TRUTH
from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Task
from harness.tasks.boundary_meter import BoundaryMeter
from harness.tasks.pictures import grey_picture
from harness.tasks.scale import MISSED_OR_FALSE, PROBABILITY, Scale

POSITIVE_WEIGHT = 0.95
"""Weight of a boundary pixel in the loss; the others weigh 1 minus this (Xie and Tu, ICCV 2015)."""


class Boundary(Task):
    """Boundary detection: weighted binary cross-entropy, scored by odsF."""

    name: ClassVar[str] = "boundary"
    title: ClassVar[str] = "Boundary"
    headline_title: ClassVar[str] = "odsF"
    higher_is_better: ClassVar[bool] = True
    weight: ClassVar[float] = 50.0
    key: ClassVar[Scale | str | None] = PROBABILITY
    error_text: ClassVar[str] = "mean |error| {:.3f}"
    error_scale: ClassVar[Scale] = MISSED_OR_FALSE

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the sigmoid, weighted, mean over valid pixels; 0 if there is none."""
        valid = target != IGNORE
        edge = (target == 1).to(prediction.dtype)
        weight = valid * (edge * POSITIVE_WEIGHT + (1 - edge) * (1 - POSITIVE_WEIGHT))
        total = F.binary_cross_entropy_with_logits(prediction, edge, weight, reduction="sum")
        return total / valid.sum().clamp(min=1)

    def scored_label(self, protocol: Protocol) -> str:
        """Return the map predictions are matched with: the field's reference boundaries, or the training edges."""
        return BOUNDARY_TRUTH if protocol.boundary_gt == "seg2bmap" else self.name

    def meter(self, protocol: Protocol) -> BoundaryMeter:
        """Return the meter of odsF.

        Raises:
            UsageError: the data set does not say how far a match may lie.
        """
        if self.spec.tolerance is None:
            raise UsageError("task 'boundary' needs the tolerance of a match in its TaskSpec")
        nms = protocol.boundary_nms == "seism"
        rule = BoundaryRule(
            self.spec.tolerance,
            nms=nms,
            matcher=protocol.boundary_match,
            thresholds=SEISM_THRESHOLDS if nms else PLAIN_THRESHOLDS,
        )
        parts = (
            "seism" if nms else "no-nms",
            protocol.boundary_match,
            protocol.boundary_gt,
            protocol.boundary_set,
            f"{self.spec.tolerance:g}",
        )
        return BoundaryMeter(rule, ",".join(parts))

    def decode(self, prediction: Tensor) -> Tensor:
        """Return P(boundary), [B, 1, H, W]."""
        return prediction.float().sigmoid()

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the probability of one prediction [1, H, W] in grey."""
        return grey_picture(prediction[0].float().sigmoid().cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in grey; ignored pixels are black."""
        label = target[0].float().cpu().numpy()
        return grey_picture(label, label == IGNORE)

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the probability less the label, from -1 to 1, [H, W]; NaN where the label is ignored."""
        difference = self.decode(prediction[None])[0] - target
        return torch.where(target != IGNORE, difference, torch.nan)[0].cpu().numpy()
