"""Contract of a stream: frames in, predictions and a report of what they took out; two streams that any model has."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.errors import MethodError, UsageError
from harness.model import MultiTaskModel, Predictions
from harness.stream.policy import StreamPolicy


@dataclass(frozen=True)
class FrameReport:
    """Account of one frame.

    Attributes:
        index: Number of the frame in its stream, from 0.
        pts: Its time in seconds; None where the source has none.
        kind: ``full:`` with the reason (first, cut, period, age, resize, seek, nan, weights), ``partial``,
            ``per-frame`` or ``copy``.
        change: Relative change of the embedding since the last frame; None where there is none.
        active: Network to the fraction of active tokens of each block, for attention and MLP.
        macs: Part to executed MACs, by formula; empty where only a counter knows.
        ms: Phase to milliseconds on the host's clock.
        tokens: Active tokens of the first network's first block, bool [h, w]; None where all are.
    """

    index: int
    pts: float | None
    kind: str
    change: float | None = None
    active: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    macs: Mapping[str, int] = field(default_factory=dict)
    ms: Mapping[str, float] = field(default_factory=dict)
    tokens: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether some network was computed in full."""
        return self.kind.startswith(("full", "per-frame"))


@dataclass(frozen=True)
class Frame:
    """Output of one frame.

    Attributes:
        predictions: Task to raw map [B, C, H, W] at input size.
        report: What it took.
    """

    predictions: Predictions
    report: FrameReport


class Stream(ABC):
    """One stream of frames through a model, with the state that is carried from frame to frame.

    A stream is not safe for threads; the model is shared by its streams and only read.
    """

    @abstractmethod
    def step(self, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame.

        Args:
            image: Normalised RGB, [B, 3, H, W] at the model's input size; B cameras in step.
            pts: Time of the frame in seconds; None where frames follow each other without gaps.
            tasks: Tasks to predict; None for all. They may differ from frame to frame.

        Raises:
            MethodError: the frame does not fit the model.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget the past: the next frame is computed in full."""

    @property
    @abstractmethod
    def state_bytes(self) -> int:
        """Bytes that are carried from frame to frame."""


@runtime_checkable
class StreamingModel(Protocol):
    """A model that offers streams of its own."""

    def open(self, policy: StreamPolicy) -> Stream:
        """Return a new stream."""


def open_stream(model: MultiTaskModel, policy: StreamPolicy | None = None) -> Stream:
    """Return a new stream through a model.

    Models may offer their own by defining ``open``; all others are run frame by frame.

    Args:
        model: In evaluation mode, on its device.
        policy: How the stream is computed; None for the defaults.

    Raises:
        UsageError: gates are asked for, and the model has none.

    Examples:
        >>> import torch
        >>> from harness.baselines.multi_task import MultiTask
        >>> from harness.problem import Problem, TaskSpec
        >>> from harness.stream import StreamPolicy, open_stream
        >>> problem = Problem((TaskSpec("depth"),), input_size=(48, 64))
        >>> model = MultiTask(MultiTask.Options(), "vit-micro").build(problem).eval()
        >>> stream = open_stream(model, StreamPolicy(mode="gated", threshold=1e-6))
        >>> image = torch.randn(1, 3, 48, 64)
        >>> [stream.step(image).report.kind for _ in range(2)]
        ['full:first', 'partial']
    """
    policy = policy or StreamPolicy()
    if policy.mode == "copy":
        return CopyStream(model, policy.copy_every)
    if policy.mode != "per-frame" and isinstance(model, StreamingModel):
        return model.open(policy)
    if policy.mode == "gated":
        raise no_gates(type(model).__name__)
    return FrameByFrame(model)


def no_gates(name: str) -> UsageError:
    """Return the error for a model that cannot be gated."""
    return UsageError(
        f"{name} carries no state over frames: gates need plain ViT encoders (methods single-task, multi-task and "
        f"share); leave the mode of the stream at auto, or use per-frame"
    )


class Laps:
    """Host times of the phases of a frame.

    Attributes:
        ms: Phase to its milliseconds so far.
    """

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def lap(self, phase: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[phase] = self.ms.get(phase, 0.0) + 1000 * (time.perf_counter() - start)


def check_image(image: Tensor, size: tuple[int, int]) -> None:
    """Raise a `MethodError` unless an image is a batch of RGB at the input size of a model."""
    if image.ndim != 4 or image.shape[1] != 3 or tuple(image.shape[2:]) != size:
        raise MethodError(
            f"a frame of shape {list(image.shape)} does not fit a model of input [B, 3, {size[0]}, {size[1]}]"
        )


class FrameByFrame(Stream):
    """Every frame by itself, through the model as it is.

    Args:
        model: In evaluation mode.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        self.model, self.index = model, 0

    def step(self, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame; see `Stream.step`."""
        check_image(image, self.model.problem.input_size)
        laps = Laps()
        with torch.inference_mode(), laps.lap("model"):
            predictions = self.model(image, tasks)
        self.index += 1
        return Frame(predictions, FrameReport(self.index - 1, pts, "per-frame", ms=laps.ms))

    def reset(self) -> None:
        """Begin to count again."""
        self.index = 0

    @property
    def state_bytes(self) -> int:
        """Nothing is carried."""
        return 0


class CopyStream(Stream):
    """Every n-th frame through the model; its predictions stand for the frames up to the next one.

    Args:
        model: In evaluation mode.
        every: Frames per computed one.
    """

    def __init__(self, model: MultiTaskModel, every: int) -> None:
        self.inner, self.every = FrameByFrame(model), every
        self._held: dict[str, Tensor] = {}

    def step(self, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame, or repeat the last prediction; see `Stream.step`."""
        wanted = tuple(tasks or self.inner.model.problem.names)
        if self.inner.index % self.every == 0 or not self._held.keys() >= set(wanted):
            frame = self.inner.step(image, pts, wanted)
            self._held = dict(frame.predictions)
            return frame
        self.inner.index += 1
        report = FrameReport(self.inner.index - 1, pts, "copy", ms={"model": 0.0})
        return Frame({task: self._held[task] for task in wanted}, report)

    def reset(self) -> None:
        """Forget the held predictions."""
        self.inner.reset()
        self._held.clear()

    @property
    def state_bytes(self) -> int:
        """Bytes of the held predictions."""
        return sum(held.numel() * held.element_size() for held in self._held.values())
