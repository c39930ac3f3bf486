"""Samples and batches: the data on their way from disk to the model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass
class Sample:
    """One scene as it lies on disk.

    Attributes:
        id: Image id of the data set's split lists.
        image: RGB, uint8 [H, W, 3].
        labels: Task name to label. semseg, parts, saliency, boundary: uint8 [H, W], 255 ignored;
            depth: float32 [H, W] in metres, 0 invalid; normals: float32 [H, W, 3], unit-ish vectors
            (x right, y down, z towards the scene), the zero vector invalid.
    """

    id: str
    image: NDArray[np.uint8]
    labels: dict[str, Array]


@dataclass
class Batch:
    """Images and labels as a model and a meter receive them.

    Attributes:
        ids: Image ids, length B.
        images: Normalised RGB, float32 [B, 3, H, W].
        labels: Task name to float32 [B, 1, H, W] (normals [B, 3, H, W]); 255 is ignored in every task.
        sizes: (height, width) of each image on disk.
        offsets: (top, left) of each image inside the padded input.
    """

    ids: list[str]
    images: Tensor
    labels: dict[str, Tensor]
    sizes: list[tuple[int, int]]
    offsets: list[tuple[int, int]]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on ``device``."""
        labels = {task: _moved(label, device) for task, label in self.labels.items()}
        return replace(self, images=_moved(self.images, device), labels=labels)

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, from which a GPU copies while the host goes on."""
        labels = {task: label.pin_memory() for task, label in self.labels.items()}
        return replace(self, images=self.images.pin_memory(), labels=labels)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    # From pageable memory a copy that is not waited for gains nothing on CUDA, and on MPS it may read freed memory.
    return tensor.to(device, non_blocking=device.type == "cuda" and tensor.is_pinned())
