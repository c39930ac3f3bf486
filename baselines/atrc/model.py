"""ATRC's network: an HRNet, coarse predictions, contexts and linear heads (Bruggemann et al., ICCV 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.blocks import resize
from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.atrc.context import ConvNorm, RelationalContext
from harness.baselines.atrc.genotype import ORDER, Genotype, labelled_tasks
from harness.baselines.common.tasks import in_order, key_of
from harness.counting import attributed_to
from harness.method import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem, TaskSpec

BINS = 40
"""Classes of the coarse predictions of depth and normals."""

_NARROWER = 4
"""A task's features have so many times fewer channels than the encoder's map."""

_PADDING = 255
"""Value of padded pixels in the authors' images; here they are 0 in all channels."""


def auxiliary_channels(task: TaskSpec) -> int:
    """Return the classes of the coarse prediction whose regions contexts are made of."""
    return {"depth": BINS, "normals": BINS, "boundary": 2}.get(task.name, task.channels)


@dataclass(frozen=True)
class CoarseOutput(TrainingOutput):
    """Output of the network in training.

    Attributes:
        coarse: Coarse predictions by task, [B, classes, h, w], which have losses of their own.
    """

    coarse: Predictions = field(default_factory=dict)


class Head(nn.Module):
    """All that follows the encoder; checkpoints have it one level down.

    Args:
        tasks: The tasks in `ORDER`.
        channels: Channels of the encoder's map.
        genotype: Kind of context by target and source.
    """

    def __init__(self, tasks: Sequence[TaskSpec], channels: int, genotype: Genotype) -> None:
        super().__init__()
        narrow = channels // _NARROWER
        outputs = {key_of(task.name): task.channels for task in tasks}
        self.names = {key_of(task.name): task.name for task in tasks}
        coarse = {key_of(task.name): auxiliary_channels(task) for task in tasks}
        labelled = [key for key in outputs if key in labelled_tasks(genotype)]
        self.bottleneck = nn.ModuleDict({key: ConvNorm(channels, narrow, side=3) for key in outputs})
        self.aux_conv = nn.ModuleDict({key: ConvNorm(channels, channels) for key in labelled})
        self.aux_logits = nn.ModuleDict({key: nn.Conv2d(channels, coarse[key], 1) for key in labelled})
        self.atrc_module = RelationalContext(genotype, narrow)
        self.final_logits = nn.ModuleDict({key: nn.Conv2d(narrow, count, 1) for key, count in outputs.items()})
        for logits in (*self.aux_logits.values(), *self.final_logits.values()):
            assert isinstance(logits, nn.Conv2d)
            assert logits.bias is not None
            nn.init.normal_(logits.weight, std=0.01)
            nn.init.zeros_(logits.bias)

    def coarse(self, key: str, map_: Tensor) -> Tensor:
        """Return the coarse prediction of a task, [B, classes, h, w]; its loss does not reach the encoder."""
        logits: Tensor = self.aux_logits[key](self.aux_conv[key](map_.detach()))
        return logits

    def forward(self, map_: Tensor, padded: Tensor, keys: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Predict.

        Args:
            map_: The encoder's map, [B, channels, h, w].
            padded: Where the image is padding, [B, 1, h w].
            keys: Tasks wanted; nothing is computed that they do not need.

        Returns:
            Predictions [B, C, h, w] of the tasks wanted, and the coarse predictions that they needed.
        """
        contexts = self.atrc_module
        needed = set().union(*(contexts.sources(key) for key in keys))
        features = {key: narrow(map_) for key, narrow in self.bottleneck.items() if key in needed}
        coarse: dict[str, Tensor] = {}
        spread: dict[str, Tensor] = {}
        regions: dict[tuple[str, str], Tensor] = {}

        def region(label: str, source: str) -> Tensor:
            """Average a source's features over the regions of a task's classes; many targets read the same."""
            if (label, source) not in regions:
                if label not in spread:
                    coarse[label] = self.coarse(label, map_)
                    spread[label] = over_space(coarse[label], padded)  # [B, R, h w]
                with attributed_to(f"coarse/{self.names[label]}"):
                    vectors = spread[label] @ features[source].flatten(2).transpose(1, 2)  # [B, R, C]
                regions[label, source] = vectors.transpose(1, 2)[..., None]
            return regions[label, source]

        predictions = {key: self.final_logits[key](contexts(key, features, region)) for key in keys}
        return predictions, coarse


def over_space(logits: Tensor, padded: Tensor) -> Tensor:
    """Return probabilities over the pixels of an image for every class, [B, R, h, w] to [B, R, h w].

    Padded pixels have none, and an image that is padding alone has zeros. The logits are left as they are.

    Args:
        logits: Coarse predictions.
        padded: Where the image is padding, [B, 1, h w].
    """
    flat = logits.flatten(2).masked_fill(padded, torch.finfo(logits.dtype).min)
    return flat.softmax(2) * ~padded.all(2, keepdim=True)


def padding_of(images: Tensor, like: Tensor) -> Tensor:
    """Return where images are padding at the size of a map [B, C, h, w], by the nearest pixel: [B, 1, h w].

    Padding is what has 255 in some channel, as the authors pad, or 0 in all, as this harness does: no pixel of 8 bits
    is 0 in all channels once it is normalised.
    """
    nearest = F.interpolate(images, size=like.shape[-2:], mode="nearest").flatten(2)
    return (nearest == _PADDING).any(1, keepdim=True) | (nearest == 0).all(1, keepdim=True)


class ATRCNet(MultiTaskModel):
    """An HRNet whose map every task narrows, reads in the contexts of the others, and predicts from.

    Its state-dict keys are the reference's.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        genotype: Kind of context by target and source.
    """

    def __init__(self, problem: Problem, encoder: HRNetEncoder, genotype: Genotype) -> None:
        super().__init__(problem)
        encoder.enlarge_by_factors()
        self.backbone = encoder
        self.head = Head(in_order(problem, ORDER), encoder.channels, genotype)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; features and coarse predictions are computed where a task asked for reads them."""
        return self._predict(images, tasks or self.problem.names)[0]

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> CoarseOutput:
        """Predict, and return the coarse predictions of the tasks asked for at their own size."""
        names = tasks or self.problem.names
        predictions, coarse = self._predict(images, names)
        return CoarseOutput(
            predictions, coarse={name: coarse[key_of(name)] for name in names if key_of(name) in coarse}
        )

    def _predict(self, images: Tensor, names: Sequence[str]) -> tuple[Predictions, dict[str, Tensor]]:
        map_ = self.backbone(images)  # [B, channels, H/4, W/4]
        maps, coarse = self.head(map_, padding_of(images, map_), [key_of(name) for name in names])
        return {name: resize(maps[key_of(name)], images) for name in names}, coarse

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, and the modules of every task."""
        head, contexts = self.head, self.head.atrc_module
        parts: dict[str, nn.Module] = {"encoder": self.backbone}
        for name in self.problem.names:
            key = key_of(name)
            parts[f"features/{name}"] = head.bottleneck[key]
            if key in head.aux_logits:
                parts |= {f"coarse features/{name}": head.aux_conv[key], f"coarse/{name}": head.aux_logits[key]}
            if key in contexts.cp_blocks:
                parts |= {f"context/{name}": contexts.cp_blocks[key], f"joined/{name}": contexts.out_proj[key]}
            parts |= {f"mixed/{name}": contexts.bottleneck[key], f"head/{name}": head.final_logits[key]}
        return parts
