"""MTLoRA's network: an adapted Swin and a decoder per task (Agiza et al., CVPR 2024)."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from harness.backbones.blocks import at_finest
from harness.backbones.swin import SwinEncoder
from harness.baselines.common.tasks import channels_of, key_of
from harness.baselines.mtlora.adapted import Ranks
from harness.baselines.mtlora.swin import AdaptedSwin
from harness.heads.convolutional import HighResolutionHead
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem

_WIDER = 4
"""The first convolution of a decoder has so many times the channels that it reads, as published."""


class Reduction(nn.Module):
    """One convolution per stage, which narrow the maps of a task.

    Args:
        before: Channels of the maps, finest first.
        channels: Channels they get.
    """

    def __init__(self, before: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        for level, (wide, narrow) in enumerate(zip(before, channels, strict=True)):
            self.add_module(f"downsample_{level}", nn.Conv2d(wide, narrow, 1, bias=False))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map [B, before[i], h_i, w_i] to all of them at the finest resolution, [B, sum of channels, h_0, w_0]."""
        return at_finest([reduce(map_) for reduce, map_ in zip(self.children(), maps, strict=True)])


class Decoders(nn.Module):
    """The decoders by task; checkpoints have them one level down.

    Args:
        decoders: The decoders by key.
    """

    def __init__(self, decoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(decoders)


class MTLoRANet(MultiTaskModel):
    """A Swin with low-rank factors, which gives maps of every task at four depths, and a decoder per task.

    Args:
        problem: The tasks and the input size.
        encoder: The Swin.
        ranks: Ranks and scales of the factors.
        plus: Whether the merging of cells is adapted, too (MTLoRA+).
        channels: Channels that a decoder reads of each stage.
    """

    unused: tuple[str, ...] = ("backbone.layers.3.blocks.1.mlp.fc2.lora_shared_",)

    def __init__(
        self, problem: Problem, encoder: SwinEncoder, ranks: Ranks, plus: bool, channels: Sequence[int]
    ) -> None:
        super().__init__(problem)
        self.notes = encoder.notes
        outputs = {key_of(task.name): channels_of(task) for task in problem}
        # Maps are read after merging: widths 2 C, 4 C, 8 C and, where nothing is merged, 8 C again
        *_, last = widths = encoder.level_channels
        self.backbone = AdaptedSwin(encoder, problem.input_size, ranks, tuple(outputs), plus)
        self.downsampler = nn.ModuleDict({key: Reduction((*widths[1:], last), channels) for key in outputs})
        total = sum(channels)
        heads = {
            key: HighResolutionHead(total, count, problem.input_size, hidden=_WIDER * total)
            for key, count in outputs.items()
        }
        self.decoders = Decoders(heads)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; factors and decoders of other tasks are not computed."""
        names = tasks or self.problem.names
        keys = [key_of(name) for name in names]
        levels = self.backbone(images, keys)  # per stage, by task: [B, C_i, H/s, W/s]
        return {
            name: self.decoders.decoders[key](self.downsampler[key]([maps[key] for maps in levels]))
            for name, key in zip(names, keys, strict=True)
        }

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder with the factors of all tasks, and what every task adds behind it."""
        parts: dict[str, nn.Module] = {"encoder": self.backbone}
        for task in self.problem.names:
            parts[f"reduction/{task}"] = self.downsampler[key_of(task)]
            parts[f"head/{task}"] = self.decoders.decoders[key_of(task)]
        return parts
