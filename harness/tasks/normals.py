"""Surface normal estimation."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.protocol import Protocol
from harness.tasks.angles import AngleMeter, angle, unit
from harness.tasks.base import IGNORE, Task
from harness.tasks.pictures import normals_picture
from harness.tasks.scale import ANGLE_ERROR, Scale


class Normals(Task):
    """Surface normals: L1 on unit vectors, scored by the mean angular error."""

    name: ClassVar[str] = "normals"
    title: ClassVar[str] = "Normals"
    headline_title: ClassVar[str] = "mErr"
    higher_is_better: ClassVar[bool] = False
    weight: ClassVar[float] = 10.0
    key: ClassVar[Scale | str | None] = "RGB: right, down, into the scene"
    error_text: ClassVar[str] = "mean error {:.1f}°"
    error_scale: ClassVar[Scale] = ANGLE_ERROR

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the L1 distance of the normalised prediction, summed over channels, mean over valid pixels.

        The label is taken as it is. 0 if no pixel is valid.
        """
        valid = (target != IGNORE).all(1, keepdim=True)
        distance = (unit(prediction) - target).abs()
        return torch.where(valid, distance, 0.0).sum() / valid.sum().clamp(min=1)

    def meter(self, protocol: Protocol) -> AngleMeter:
        """Return an empty meter of the angular error."""
        return AngleMeter(protocol.normals_formula)

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the normalised vectors of one prediction [3, H, W] as colours."""
        return normals_picture(unit(prediction[None].float())[0].cpu().numpy())

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [3, H, W] as colours; ignored pixels are black."""
        label = target.float().cpu().numpy()
        return normals_picture(label, (label == IGNORE).any(axis=0))

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the angle between prediction and label in degrees, [H, W]; NaN where the label is ignored."""
        degrees = angle(prediction[None].float(), target[None].float(), "atan2")[0]
        return torch.where((target != IGNORE).all(0), degrees, torch.nan).cpu().numpy()
