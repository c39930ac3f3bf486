"""What of MTFormer's network depends on the set of tasks: names of modules, scale of attention, memory banks."""

from collections.abc import Sequence
from dataclasses import dataclass

ORDER = ("semseg", "parts", "saliency", "depth", "normals", "boundary")
"""The tasks in the order of the authors' code, which knows the first four; the others are appended."""

HEADS = 4
"""Attention heads of the decoder's blocks."""

_NYUD = ("semseg", "depth")
_PASCAL = ("semseg", "parts", "saliency")


@dataclass(frozen=True)
class Layout:
    """Names and sizes for one set of tasks.

    Attributes:
        private: Names of the stacks that one task each passes through, in the order of the tasks.
        cross: Names of the stacks that attend across tasks, in the order of the tasks.
        scaled_by: Channels whose share of a head scales the attention across tasks, per channel of the map.
        bank_rows: Images in every memory bank of the contrastive loss; None for no contrastive layers.
    """

    private: tuple[str, ...]
    cross: tuple[str, ...]
    scaled_by: int
    bank_rows: int | None


def layout_of(tasks: Sequence[str]) -> Layout:
    """Return the layout of a set of tasks in `ORDER`.

    Published are two networks: for semantic segmentation and depth on NYUD-v2, and for semantic segmentation, parts and
    saliency on PASCAL-Context. The first scales the attention across tasks by the channels of both tasks together,
    128^-1/2 for heads of 64 channels; the second by those of a head. All other sets are ours: named and scaled as the
    second, without the layers of the contrastive loss.
    """
    if tuple(tasks) == _NYUD:
        return Layout(("transformer4", "transformer5"), ("transformer6", "transformer7"), scaled_by=2, bank_rows=795)
    numbers = range(1, len(tasks) + 1)
    return Layout(
        private=tuple(f"transformer4_{number}" for number in numbers),
        cross=tuple(f"transformer5_{number}" for number in numbers),
        scaled_by=1,
        bank_rows=4998 if tuple(tasks) == _PASCAL else None,
    )
