"""Depth in metres: the task, and the meter of its errors."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.protocol import Protocol
from harness.records.metric import Unit
from harness.tasks.base import IGNORE, Task, Total, alone, wide_sum
from harness.tasks.facts import TASK_FACTS
from harness.tasks.images import Description, Floats, ImageMeter, Statistic, View
from harness.tasks.pictures import DEPTH, DEPTH_ERROR, Scale, blacken

Pool = Literal["pixel", "image"]
Mask = Literal["finite", "not-255", "nonzero", "none"]

FLOOR = 1e-9
"""Depth in metres that stands for anything at or below zero, so that its logarithm exists."""

LIMIT = 80.0
"""Depth in metres beyond which TaskPrompter's mask drops a label."""

_UNITS: dict[str, Unit] = {"rmse": "m", "log_rmse": "log m", "abs_rel": "ratio", "sq_rel": "m"}


class DepthMeter(ImageMeter):
    """RMSE, RMSE of the natural logarithm, and relative errors (Eigen et al., NIPS 2014, section 3).

    Pooled over all valid pixels of the split, or taken per image and averaged (Maninis et al., CVPR 2019,
    whose log RMSE is the median over images).
    """

    headline: ClassVar[str] = "rmse"
    layout: Mapping[str, Statistic] = {"pixels": Statistic(), "errors": Statistic("sum", (len(_UNITS),))}

    def __init__(self, pool: Pool, mask: Mask) -> None:
        super().__init__()
        self.pool = pool
        self.mask = mask

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: depth in metres, [B, 1, H, W]."""
        valid, label = self._valid(target)
        # Where nothing is scored, both sides are 1 m: every error there is zero.
        label = torch.where(valid, label, 1.0)
        depth = torch.where(valid, prediction, 1.0).clamp_(min=FLOOR)
        error = depth - label
        log_squared = wide_sum((depth / label).log_().square_())
        squared = wide_sum(torch.square(error, out=depth))
        relative = wide_sum(depth.div_(label))
        errors = torch.stack([squared, log_squared, wide_sum(error.abs_().div_(label)), relative], 1)
        self.add_images(pixels=valid.flatten(1).sum(1), errors=errors)

    def _valid(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask of scored pixels and the labels to score there."""
        if self.mask == "finite":
            return (target > 0) & (target < LIMIT), target
        if self.mask == "not-255":
            return target != IGNORE, target.clamp(min=FLOOR)
        if self.mask == "nonzero":
            return target != 0, target.clamp(min=FLOOR)
        holes = target == IGNORE
        return torch.ones_like(holes), target.masked_fill(holes, FLOOR).clamp(min=FLOOR)

    def values(self, view: View) -> dict[str, Floats]:
        """Return ``rmse``, ``log_rmse``, ``abs_rel`` and ``sq_rel``."""
        if self.pool == "pixel":
            mean = view.total("errors") / view.total("pixels")[..., None]  # [..., 4]
            found = [*np.moveaxis(np.sqrt(mean[..., :2]), -1, 0), *np.moveaxis(mean[..., 2:], -1, 0)]
        else:
            pixels = view["pixels"]
            seen = pixels > 0
            means = view["errors"] / np.maximum(pixels, 1)[:, None]  # [N, 4]
            roots = np.sqrt(means[:, :2])
            average = view.sum(np.column_stack([roots[:, 0], means[:, 2:]])) / view.sum(seen.astype(int))[..., None]
            found = [average[..., 0], view.median(roots[:, 1], seen), average[..., 1], average[..., 2]]
        return dict(zip(_UNITS, map(np.asarray, found), strict=True))

    def describe(self, name: str) -> Description:
        """Return what is fixed of a metric."""
        convention = self.pool if self.mask == "finite" else f"{self.pool},{self.mask}"
        return Description(_UNITS[name], False, f"depth.{name.replace('_', '-')}@{convention}")

    def scored(self, view: View) -> int:
        """Return the number of scored pixels, or of images where each counts the same."""
        return int(view["pixels"].sum() if self.pool == "pixel" else (view["pixels"] > 0).sum())


class Depth(Task):
    """Depth in metres: L1, scored by RMSE."""

    name: ClassVar[str] = "depth"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]
    key: ClassVar[Scale | str | None] = DEPTH
    error_text: ClassVar[str] = "mean error {:.2f} m"
    error_scale: ClassVar[Scale] = DEPTH_ERROR

    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the absolute error, mean over valid pixels; 0 if there is none."""
        valid = target != IGNORE
        error = torch.where(valid, (prediction - target).abs(), 0.0).sum()
        return total(error) / total(valid.sum()).clamp(min=1)

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
