"""Depth estimation."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Task
from harness.tasks.depth_errors import DepthMeter
from harness.tasks.pictures import blacken
from harness.tasks.scale import DEPTH, DEPTH_ERROR, Scale


class Depth(Task):
    """Depth in metres: L1, scored by RMSE."""

    name: ClassVar[str] = "depth"
    title: ClassVar[str] = "Depth"
    headline_title: ClassVar[str] = "RMSE"
    higher_is_better: ClassVar[bool] = False
    weight: ClassVar[float] = 1.0
    key: ClassVar[Scale | str | None] = DEPTH
    error_text: ClassVar[str] = "mean error {:.2f} m"
    error_scale: ClassVar[Scale] = DEPTH_ERROR

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the absolute error, mean over valid pixels; 0 if there is none."""
        valid = target != IGNORE
        return torch.where(valid, (prediction - target).abs(), 0.0).sum() / valid.sum().clamp(min=1)

    def meter(self, protocol: Protocol) -> DepthMeter:
        """Return an empty meter of the depth errors."""
        return DepthMeter(protocol.depth_pool, protocol.depth_mask)

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return one prediction [1, H, W] in viridis over 0 to 10 m."""
        return DEPTH.picture(prediction[0].float().cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in viridis over 0 to 10 m; ignored pixels are black."""
        label = target[0].float().cpu().numpy()
        return blacken(DEPTH.picture(label), label == IGNORE)

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the absolute error in metres, [H, W]; NaN where the label is ignored."""
        distance = (prediction.float() - target).abs()
        return torch.where(target != IGNORE, distance, torch.nan)[0].cpu().numpy()
