"""Capture of a model as one graph by ``torch.export``: images [B, 3, H, W] to the raw maps of all tasks, in order."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import MethodError, described
from harness.model import MultiTaskModel

_MOST = 1024
"""Images of the largest batch that a graph is made for."""


@dataclass(frozen=True)
class Captured:
    """A captured model.

    Attributes:
        program: The graph, with its weights.
        tasks: Tasks by the order of the graph's outputs.
        batch: Images it takes; None for any number.
        reason: Why it takes a fixed number; None where it does not.
    """

    program: torch.export.ExportedProgram
    tasks: tuple[str, ...]
    batch: int | None = None
    reason: str | None = None


class _Maps(nn.Module):
    """A model whose output is a tuple, as graphs have them."""

    def __init__(self, model: MultiTaskModel, tasks: Sequence[str]) -> None:
        super().__init__()
        self.model, self.tasks = model, tuple(tasks)
        self.training = False  # not by `eval`, which would drop the weights that models have merged

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        predictions = self.model(images, self.tasks)
        return tuple(predictions[task] for task in self.tasks)


def capture(model: MultiTaskModel, images: Tensor) -> Captured:
    """Capture a model, for any batch size where its graph allows that, else for that of ``images``.

    Args:
        model: In evaluation mode; its parameters no longer ask for gradients afterwards.
        images: An example, [B, 3, H, W].

    Raises:
        MethodError: the computation depends on the values of the images, or an operator cannot be captured.
    """
    model.requires_grad_(False)
    with torch.no_grad():
        model(images)  # what a model keeps for later calls is made outside of the graph
    maps, tasks = _Maps(model, model.problem.names), model.problem.names
    # Two images at least: a batch of one would be taken for a constant.
    several = torch.cat([images, images]) if len(images) == 1 else images
    batch = torch.export.Dim("batch", min=1, max=_MOST)
    try:
        return Captured(_export(maps, several, {"images": {0: batch}}), tasks)
    except Exception as error:  # the tracer raises errors of many kinds, and those of the model
        reason = described(error)
    try:
        return Captured(_export(maps, images, None), tasks, len(images), reason)
    except Exception as error:
        raise MethodError(f"the model cannot be captured as a graph ({described(error)})") from error


def _export(maps: nn.Module, images: Tensor, shapes: object) -> torch.export.ExportedProgram:
    # With gradients allowed, for models take paths of their own in inference: in place, with kept kernels.
    with torch.enable_grad(), _quiet():
        return torch.export.export(maps, (images,), dynamic_shapes=shapes, strict=False)  # type: ignore[arg-type]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the graphs that a failed capture logs off the screen; its error says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
