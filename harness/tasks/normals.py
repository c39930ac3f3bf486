"""Surface normals: the task, and the meter of the angular error."""

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Meter, Task, Total, alone, wide_sum
from harness.tasks.facts import TASK_FACTS
from harness.tasks.images import Array, Description, Floats, ImageMeter, Statistic, View
from harness.tasks.median import BINS, MEDIAN_LAYOUT, around_median, exact_median, histogram, histogram_median
from harness.tasks.pictures import ANGLE_ERROR, Scale, normals_picture

Formula = Literal["atan2", "acos-uint8", "acos-raw"]

LIMITS = (11.25, 22.5, 30.0)
"""Angles in degrees below which the fraction of pixels is reported (Fouhey et al., ICCV 2013)."""


def unit(vectors: Tensor) -> Tensor:
    """Return ``vectors`` [B, 3, H, W] at length 1; zero stays zero, with zero gradient."""
    # On a CPU, many times faster than a norm over the strided dimension.
    return vectors * (vectors * vectors).sum(1, keepdim=True).clamp(min=1e-24).rsqrt()


def angle(prediction: Tensor, target: Tensor, formula: Formula) -> Tensor:
    """Return the angle between two maps of vectors in degrees, [B, H, W].

    ``atan2``: accurate at all angles; a zero prediction is at 90 degrees. The ``acos`` formulas are those of
    ASTMT and MTI-Net; see `Protocol`.

    Args:
        prediction: [B, 3, H, W], of any length.
        target: [B, 3, H, W], of any length; of unit length for ``acos-raw``.
        formula: One of the three above.
    """
    if formula == "atan2":
        return _atan2_angle(prediction, target)
    p = unit(prediction)
    if formula == "acos-uint8":
        p = unit(((p + 1) * 255 / 2).floor() * 2 / 255 - 1)
        target = unit(target)
    return (p * target).sum(1).clamp(-1, 1).acos_().mul_(180 / math.pi)


def _atan2_angle(prediction: Tensor, target: Tensor) -> Tensor:
    """Return atan2(|p x g|, p . g) in degrees.

    The field writes the same angle as 2 atan2(|p - g|, |p + g|) of unit vectors (Kahan, 2006). This form
    needs no unit vectors and is several times faster; its buffers are used again on purpose.
    """
    (px, py, pz), (gx, gy, gz) = prediction.unbind(1), target.unbind(1)
    along = torch.mul(px, gx).addcmul_(py, gy).addcmul_(pz, gz)
    part = torch.mul(py, gz).addcmul_(pz, gy, value=-1)
    across = torch.square(part)
    for a, b, c, d in ((pz, gx, px, gz), (px, gy, py, gx)):
        torch.mul(a, b, out=part).addcmul_(c, d, value=-1)
        across.addcmul_(part, part)
    # A zero vector has no direction; with the floor it lies across every other.
    across.sqrt_().clamp_(min=1e-30)
    return torch.atan2(across, along, out=part).mul_(180 / math.pi)


class AngleMeter(ImageMeter):
    """Mean angular error over all valid pixels of the split, in degrees.

    The ``acos`` formulas also give median, RMSE and the fractions under `LIMITS`. A median is no sum: under
    them the meter keeps every angle, 4 bytes per valid pixel (0.8 GB on NYUD-v2 at 480 x 640). What it hands on
    is a histogram, which the median of a draw of images is read from, and the few angles around the median.
    """

    headline: ClassVar[str] = "merr"

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula
        self.layout = {"pixels": Statistic(), "degrees": Statistic("sum")}
        if formula != "atan2":
            self.layout |= {
                "squares": Statistic("sum"),
                "under": Statistic("count", (len(LIMITS),)),
                "histogram": Statistic("count", (BINS,)),
                **MEDIAN_LAYOUT,
            }
        self._degrees: list[Tensor] = []

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: vectors and labels, [B, 3, H, W]; a label with a 255 in any channel is invalid."""
        valid = target.amax(1) != IGNORE
        degrees = angle(prediction, target, self.formula)
        total = wide_sum(torch.where(valid, degrees, 0.0))
        self.add_images(degrees=total, pixels=valid.flatten(1).sum(1))
        if self.formula != "atan2":
            self._degrees += [one[seen] for one, seen in zip(degrees, valid, strict=True)]

    def settle(self) -> None:
        """Bring rows and angles to the CPU."""
        super().settle()
        self._degrees = [one.cpu() for one in self._degrees]

    def merge(self, other: Meter) -> None:
        """Add the images of another meter of the same formula."""
        super().merge(other)
        assert isinstance(other, AngleMeter)
        self._degrees += other._degrees

    def statistics(self) -> dict[str, Array]:
        """Return the statistics of all images; those around the median depend on all of them."""
        found = super().statistics()
        if self.formula != "atan2":
            degrees = [one.cpu().numpy() for one in self._degrees]
            squares = [np.square(one, dtype=np.float64).sum() for one in degrees]
            under = [[np.count_nonzero(one < limit) for limit in LIMITS] for one in degrees]
            found["squares"] = np.array(squares, np.float64)
            found["under"] = np.array(under, np.int64).reshape(-1, len(LIMITS))
            found["histogram"] = np.stack([self.layout["histogram"].empty(1)[0], *map(histogram, degrees)])[1:]
            found |= around_median(degrees)
        return found

    def values(self, view: View) -> dict[str, Floats]:
        """Return ``merr`` and, by acos, ``median``, ``rmse`` and the fractions under `LIMITS`."""
        pixels = view.total("pixels")
        mean = view.total("degrees") / pixels
        found = {"merr": mean}
        if self.formula != "atan2":
            if view.whole:
                middle = np.asarray(exact_median(view.statistics))
            else:
                middle = histogram_median(view.total("histogram"))
            found["median"] = np.where(np.isfinite(mean), middle, np.nan)
            found["rmse"] = np.sqrt(view.total("squares") / pixels)
            fractions = view.total("under") / pixels[..., None]
            found |= {f"under_{limit:g}": fractions[..., place] for place, limit in enumerate(LIMITS)}
        return found

    def describe(self, name: str) -> Description:
        """Return what is fixed of a metric."""
        fraction = name.startswith("under")
        convention = f"normals.{name.replace('_', '-')}@{self.formula}"
        return Description("fraction" if fraction else "deg", fraction, convention)

    def scored(self, view: View) -> int:
        """Return the number of scored pixels."""
        return int(view["pixels"].sum())


class Normals(Task):
    """Surface normals: L1 on unit vectors, scored by the mean angular error."""

    name: ClassVar[str] = "normals"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]
    key: ClassVar[Scale | str | None] = "RGB: right, down, into the scene"
    error_text: ClassVar[str] = "mean error {:.1f}°"
    error_scale: ClassVar[Scale] = ANGLE_ERROR

    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the L1 distance of the normalised prediction, summed over channels, mean over valid pixels.

        The label is taken as it is. 0 if no pixel is valid.
        """
        valid = (target != IGNORE).all(1, keepdim=True)
        distance = (unit(prediction) - target).abs()
        return total(torch.where(valid, distance, 0.0).sum()) / total(valid.sum()).clamp(min=1)

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
