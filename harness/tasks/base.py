"""The contract of a task and of its meter."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.tasks.pictures import Scale, Swatch

IGNORE = 255
"""Label value that no loss and no meter counts, in every task."""

Total = Callable[[Tensor], Tensor]
"""Sum of a tensor over the parts of a batch that several processes have."""


def alone(value: Tensor) -> Tensor:
    """Return the value: the sum over a batch that one process has as a whole."""
    return value


class Meter(ABC):
    """Accumulates one task's metrics over a split, as sums on the device of the predictions.

    The state is a dictionary of tensors of sums, so that merging over processes is an addition. A few
    conventions need an order statistic; the values they need are kept in `samples` and merged by
    concatenation.
    """

    headline: ClassVar[str]
    """Key of the metric that the papers' tables print."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.samples: dict[str, list[Tensor]] = {}

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            prediction: Raw network output, [B, C, H, W].
            target: Label, [B, 1, H, W] (normals: [B, 3, H, W]), float, invalid pixels hold `IGNORE`.
                Left unchanged.
        """

    def update_decoded(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch of predictions as they are saved; see `Task.decode`.

        Args:
            prediction: [B, 1, H, W] (normals: [B, 3, H, W]), float32.
            target: As for `update`.
        """
        self.update(prediction, target)

    @abstractmethod
    def compute(self) -> dict[str, Metric]:
        """Return the metrics so far, the headline first."""

    def add(self, **values: Tensor) -> None:
        """Add ``values`` to the sums of the same names."""
        for name, value in values.items():
            held = self.sums.get(name)
            self.sums[name] = value if held is None else held + value

    def keep(self, **values: Tensor) -> None:
        """Keep the 1-D ``values`` beside those kept before under the same names."""
        for name, value in values.items():
            self.samples.setdefault(name, []).append(value)

    def kept(self, name: str) -> Tensor:
        """Return all values kept under ``name``, 1-D, on the CPU; empty if there are none."""
        return torch.cat([torch.empty(0), *(value.cpu() for value in self.samples.get(name, []))])

    def settle(self) -> None:
        """Wait for what is counted in the background, and bring the state to the CPU: it is to be sent elsewhere."""
        self.sums = {name: value.cpu() for name, value in self.sums.items()}
        self.samples = {name: [value.cpu() for value in values] for name, values in self.samples.items()}

    def close(self) -> None:  # noqa: B027 - most meters hold nothing
        """Release what the meter holds beside its state, when an evaluation breaks off or is done."""

    def merge(self, other: "Meter") -> None:
        """Add the state of another meter of the same kind."""
        self.add(**{name: value.to(_device(self, value)) for name, value in other.sums.items()})
        for name, values in other.samples.items():
            self.samples.setdefault(name, []).extend(values)


def wide_float(device: torch.device) -> torch.dtype:
    """Return the widest float of ``device`` for sums: float64, but float32 on MPS, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def wide_sum(values: Tensor) -> Tensor:
    """Return the sum of each image [B] of float32 ``values`` [B, ..., W] in the widest float.

    Rows are summed in float32, pairwise, and added in float64: a float64 copy of the map would take longer
    than all the arithmetic before it.
    """
    return values.sum(-1).flatten(1).sum(1, dtype=wide_float(values.device))


def _device(meter: Meter, default: Tensor) -> torch.device:
    held = next(iter(meter.sums.values()), default)
    return held.device


class Task(ABC):
    """One dense prediction task: what the network must output, how it is trained, scored and shown."""

    name: ClassVar[str]
    title: ClassVar[str]
    """Column title of the papers' tables."""
    headline_title: ClassVar[str]
    """Name of the headline metric in the papers' tables, for example ``mIoU``."""
    higher_is_better: ClassVar[bool]
    weight: ClassVar[float]
    """Weight of the loss in a multi-task sum (the field's fixed weights)."""
    key: ClassVar[Scale | str | None] = None
    """What the colours of `picture` stand for, where `legend` does not say it."""
    error_text: ClassVar[str]
    """Format of the mean of an image's absolute `error`, with its unit."""
    error_scale: ClassVar[Scale]
    """Colours of `error`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def channels(self) -> int:
        """Channels of the network's raw output."""
        return self.spec.channels

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the unweighted training loss, a scalar: that of the whole batch where processes have parts of it.

        A mean of the means of parts is not the mean of the batch where parts have other numbers of valid pixels. Every
        sum over the batch, numerators and denominators, goes through ``total`` before anything is divided.

        Args:
            prediction: Raw network output, [B, C, H, W].
            target: Label as for `Meter.update`.
            total: Sums over the parts of the batch.
        """

    @abstractmethod
    def meter(self, protocol: Protocol) -> Meter:
        """Return an empty meter by the conventions of ``protocol``."""

    def scored_label(self, protocol: Protocol) -> str:
        """Return the name of the label that the meter compares predictions with: the training label's, mostly."""
        return self.name

    def decode(self, prediction: Tensor) -> Tensor:
        """Return raw predictions [B, C, H, W] as they are saved, float32 [B, 1, H, W] (normals: [B, 3, H, W]).

        Class indices, the probability of the positive class, metres, or vectors of any length.
        """
        return prediction.float()

    @abstractmethod
    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the RGB picture [H, W, 3] of one raw prediction [C, H, W]."""

    @abstractmethod
    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return the RGB picture [H, W, 3] of one label [1 or 3, H, W]; ignored pixels are black."""

    def legend(self, prediction: Tensor, target: Tensor | None = None) -> list[Swatch]:
        """Return what the single colours in the pictures of one prediction and its label stand for."""
        return []

    @abstractmethod
    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return the error of every pixel, [H, W]; NaN where the label is ignored.

        Args:
            prediction: Raw output for one image, [C, H, W].
            target: Its label, [1 or 3, H, W].
        """
