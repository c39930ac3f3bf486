"""Saliency detection."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Task, Total, alone
from harness.tasks.facts import TASK_FACTS
from harness.tasks.fmeasure import FMeasureMeter
from harness.tasks.pictures import MISSED_OR_FALSE, PROBABILITY, Scale, grey_picture


def log_odds(prediction: Tensor) -> Tensor:
    """Return the log-odds of a salient pixel, [B, H, W].

    Args:
        prediction: [B, 2, H, W] for a softmax over background and salient, or [B, 1, H, W] for a sigmoid.
    """
    # A softmax over two channels is the sigmoid of their difference.
    return prediction[:, 1] - prediction[:, 0] if prediction.shape[1] == 2 else prediction[:, 0]


class Saliency(Task):
    """Saliency detection: class-balanced cross-entropy, scored by maxF."""

    name: ClassVar[str] = "saliency"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]
    key: ClassVar[Scale | str | None] = PROBABILITY
    error_text: ClassVar[str] = "mean |error| {:.3f}"
    error_scale: ClassVar[Scale] = MISSED_OR_FALSE

    def probability(self, prediction: Tensor) -> Tensor:
        """Return P(salient), float32 [B, H, W], of a raw prediction with one or two channels."""
        return log_odds(prediction.float()).sigmoid()

    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the cross-entropy with salient pixels weighted by the batch's share of the others.

        The sum is divided by the number of valid pixels, not by the sum of weights (InvPT, ECCV 2022);
        it is 0 if no pixel is valid.
        """
        label = target[:, 0]
        valid = label != IGNORE
        salient = (label == 1).to(prediction.dtype)
        pixels = total(valid.sum()).clamp(min=1)
        others = 1 - total(salient.sum()) / pixels
        weight = valid * (salient * others + (1 - salient) * (1 - others))
        entropy = F.binary_cross_entropy_with_logits(log_odds(prediction), salient, weight, reduction="sum")
        return total(entropy) / pixels

    def meter(self, protocol: Protocol) -> FMeasureMeter:
        """Return an empty maxF meter."""
        return FMeasureMeter(self.probability, protocol.saliency_mode, protocol.saliency_void)

    def decode(self, prediction: Tensor) -> Tensor:
        """Return P(salient), [B, 1, H, W]."""
        return self.probability(prediction)[:, None]

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the probability of one prediction [1 or 2, H, W] in grey."""
        return grey_picture(self.probability(prediction[None])[0].cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in grey; ignored pixels are black."""
        label = target[0].to(torch.float32).cpu().numpy()
        return grey_picture(label, label == IGNORE)

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the probability less the label, from -1 to 1, [H, W]; NaN where the label is ignored."""
        difference = self.decode(prediction[None])[0] - target
        return torch.where(target != IGNORE, difference, torch.nan)[0].cpu().numpy()
