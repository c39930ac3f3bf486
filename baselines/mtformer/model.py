"""MTFormer's network: layout by set of tasks, heads, and what follows the encoder (Xu et al., ECCV 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones import Encoder
from harness.baselines.common.tasks import channels_of, in_order
from harness.baselines.mtformer.stacks import CrossTaskStack, SwinStack
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem, TaskSpec

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
        scaled_by: Channels whose part in a head scales the attention across tasks, per channel of the map.
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


MAPPED = 128
"""Channels of a mapped feature of the contrastive loss, as published."""


class MemoryBank(nn.Module):
    """Mapped features of the training images for the contrastive loss of two tasks, as checkpoints hold them.

    Args:
        rows: Training images.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("params", torch.zeros(5))  # negatives, temperature, two constants, momentum
        self.register_buffer("memory_l", torch.zeros(rows, MAPPED))
        self.register_buffer("memory_ab", torch.zeros(rows, MAPPED))


def mapping(channels: int) -> nn.Sequential:
    """Return the layers that map the pooled features of a task, [B, channels] to [B, MAPPED]."""
    return nn.Sequential(nn.Linear(channels, MAPPED), nn.ReLU(), nn.Linear(MAPPED, MAPPED))


_TYPICAL_DEPTH_M = 2.5
"""Metres: about the mean depth of NYUD-v2."""


class Twice(nn.Module):
    """Enlarges a map two times, corners on corners; in a sequence it takes the place it has in checkpoints."""

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, 2H, 2W]."""
        return F.interpolate(map_, scale_factor=2, mode="bilinear", align_corners=True)


def task_head(task: TaskSpec, channels: int) -> nn.Sequential:
    """Return the head of a task, [B, channels, H, W] to its raw map at the same size or twice as large.

    Published are the heads of label tasks, saliency (one channel, not enlarged) and depth, which is never negative.
    Normals and boundaries, which the authors do not have, are predicted like labels. Depth starts from a typical
    distance: from 0 m, where the last activation passes no gradient, training might never leave.
    """
    if task.name == "depth":
        # C -> C/2, twice the size, -> C/8, ReLU, -> 1, ReLU: [B, 1, 2H, 2W]
        widths = (channels, channels // 2, channels // 8, 1)
        first, second, last = (nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
        assert last.bias is not None
        nn.init.constant_(last.bias, _TYPICAL_DEPTH_M)
        return nn.Sequential(first, Twice(), second, nn.ReLU(), last, nn.ReLU())
    # C -> C, norm, ReLU, -> classes
    layers = [
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels_of(task), 1),
    ]
    return nn.Sequential(*layers) if task.name == "saliency" else nn.Sequential(*layers, Twice())


_MOST_TASKS = 99
"""Far more than there are: for how many tasks the names of dead weights are listed."""

CONTRAST = "contrast"
"""Prefix of the memory banks."""


class MTFormerNet(MultiTaskModel):
    """An encoder, blocks for all tasks, blocks for every task, and attention across tasks, all at stride 8 (section 3).

    The keys of its weights are those of the authors' code.

    Args:
        problem: The tasks and the input size.
        encoder: A Swin.
        channels: Channels of the decoder's maps; 256 as published.

    Attributes:
        order: The tasks in the order of the authors' code.
        log_var_list: Logarithm of the uncertainty of every task in this order, by which training weighs their losses.
    """

    unused: tuple[str, ...] = (
        "backbone.norm0.",
        "transformer1.patch_embed.",
        "transformer4.patch_embed.",
        "transformer5.patch_embed.",
        *(f"transformer4_{number}.patch_embed." for number in range(1, _MOST_TASKS + 1)),
        "mapping",
        CONTRAST,
    )

    def __init__(self, problem: Problem, encoder: Encoder, channels: int) -> None:
        super().__init__(problem)
        tasks = in_order(problem, ORDER)
        self.order = tuple(task.name for task in tasks)
        self.layout = layout = layout_of(self.order)
        # 1 / sqrt(channels of a head), or what the authors' code for NYUD-v2 takes for it
        scale = (layout.scaled_by * channels // HEADS) ** -0.5
        self.log_var_list = nn.Parameter(torch.zeros(len(tasks)))
        self.backbone = encoder
        self.decoder = nn.Conv2d(encoder.channels, channels, 1)
        self.transformer1 = SwinStack(channels, HEADS)
        for private, cross in zip(layout.private, layout.cross, strict=True):
            self.add_module(private, SwinStack(channels, HEADS))
            self.add_module(cross, CrossTaskStack(channels, len(tasks), HEADS, scale))
        for number, task in enumerate(tasks, 1):
            self.add_module(f"project{number}", task_head(task, channels))
        # Layers of the contrastive loss, which nothing here reads: kept so that checkpoints load as they are
        if layout.bank_rows is not None:
            for number in range(1, len(tasks) + 1):
                self.add_module(f"mapping{number}", mapping(channels))
            for one, other in combinations(range(1, len(tasks) + 1), 2):
                self.add_module(f"{CONTRAST}{one}{other}", MemoryBank(layout.bank_rows))

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; every task attends to all, so that those not asked for save their last stack and head alone."""
        # 1. Shared blocks, then blocks of every task: [B, H/8, W/8, C] each (paper, section 3.2)
        shared = self.transformer1(self.decoder(self.backbone(images)).permute(0, 2, 3, 1))
        private = [self.get_submodule(name)(shared) for name in self.layout.private]
        predictions = {}
        for task in tasks or self.problem.names:
            # 2. Attention across tasks, the task's own features first (paper, section 3.3)
            index = self.order.index(task)
            others = [map_ for place, map_ in enumerate(private) if place != index]
            fused = self.get_submodule(self.layout.cross[index])(private[index], others)  # [B, H/8, W/8, C]
            # 3. The head, at stride 4 or 8, and its prediction at the size of the input: [B, classes, H, W]
            prediction = self.get_submodule(f"project{index + 1}")(fused.permute(0, 3, 1, 2))
            predictions[task] = F.interpolate(
                prediction, size=self.problem.input_size, mode="bilinear", align_corners=False
            )
        return predictions

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, what follows it for all tasks, and what every task adds; not the few uncertainties."""
        parts = {"encoder": self.backbone, "reduction": self.decoder, "shared": self.transformer1}
        for index, task in enumerate(self.order):
            parts[f"private/{task}"] = self.get_submodule(self.layout.private[index])
            parts[f"cross/{task}"] = self.get_submodule(self.layout.cross[index])
            parts[f"head/{task}"] = self.get_submodule(f"project{index + 1}")
            if self.layout.bank_rows is not None:
                parts[f"mapping/{task}"] = self.get_submodule(f"mapping{index + 1}")
        return parts
