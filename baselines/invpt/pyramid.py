"""The inverted pyramid: features of all tasks, refined together while they grow (paper, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.invpt.attention import Block

Size = tuple[int, int]


class Stage(nn.Module):
    """One resolution of the pyramid.

    Args:
        before: Width of the stage before; None in the first stage, which takes its input as it is.
        channels: Width of the stage.
        size: Height and width of its maps.
        tasks: Number of tasks.
        window: Rows and columns that a key is averaged over.
    """

    def __init__(self, before: int | None, channels: int, size: Size, tasks: int, window: int) -> None:
        super().__init__()
        if before is not None:
            self.patch_embed = nn.ModuleList(UpEmbed(before, channels, size) for _ in range(tasks))
        self.blocks = nn.ModuleList([Block(channels, tasks, window)])

    def forward(self, x: Tensor, skip: Tensor | None, message: Tensor | None) -> tuple[Tensor, Tensor]:
        """Refine.

        Args:
            x: Output of the stage before, [T, B, h, w, C].
            skip: The encoder's features at this stage, for all tasks the same, [B, C', h', w']; None in the first.
            message: Scores of the stage before; None in the first.

        Returns:
            Maps [T, B, h', w', C'] and scores; see `MessagePassingAttention`.
        """
        if skip is not None:  # enlarged by two, and the encoder's features added: [T, B, h', w', C']
            grown = [embed(x[task].permute(0, 3, 1, 2)) + skip for task, embed in enumerate(self.patch_embed)]
            x = torch.stack([map_.permute(0, 2, 3, 1) for map_ in grown])
        refined: tuple[Tensor, Tensor] = self.blocks[0](x, message)
        return refined


class UpEmbed(nn.Module):
    """Enlargement by two and two dilated convolutions, which narrow the map.

    Args:
        before: Channels of the input.
        channels: Channels of the output.
        size: Height and width of the output.
    """

    def __init__(self, before: int, channels: int, size: Size) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Upsample(size=size, mode="bilinear", align_corners=False),
            # Dilated by two, so that enlarging does not shrink what a position sees
            *_dilated(before, channels),
            *_dilated(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, before, h, w] to [B, channels, *size]."""
        y: Tensor = self.proj(x)
        return y


class InvertedPyramid(nn.Module):
    """Three stages, and the sum of their outputs at the finest resolution.

    ``redu_chan.0`` and ``norm_mt`` are in published checkpoints and serve nothing.

    Args:
        outputs: Channels of the intermediate predictions by key, in the order of the reference.
        features: Channels of the features that come with them.
        widths: Widths of the stages.
        sizes: Heights and widths of the stages, each half of the next, rounded up.
    """

    def __init__(
        self, outputs: dict[str, int], features: int, widths: tuple[int, int, int], sizes: Sequence[Size]
    ) -> None:
        super().__init__()
        tasks, wide = len(outputs), widths[0]
        self.keys = tuple(outputs)
        self.size = (2 * sizes[-1][0], 2 * sizes[-1][1])
        self.mix_proj = nn.ModuleDict(
            {key: nn.Sequential(nn.Conv2d(features + channels, wide, 1)) for key, channels in outputs.items()}
        )
        self.invpt_stages = nn.ModuleList(
            Stage(before, channels, size, tasks, window)
            for before, channels, size, window in zip((None, *widths), widths, sizes, (2, 4, 8), strict=False)
        )
        # Joint over the tasks: T C channels share one mean and variance
        self.norm_mts = nn.ModuleList(nn.LayerNorm(tasks * channels) for channels in widths)
        # Dead, but in checkpoints: as wide as the last joint norm, which only for four tasks is the width of stage one
        self.norm_mt = nn.LayerNorm(tasks * widths[-1])
        self.redu_chan = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, wide, 1) for _ in range(tasks)) for channels in widths
        )
        self.mt_proj = nn.ModuleDict({key: _projection(wide) for key in outputs})

    def forward(self, mixed: dict[str, Tensor], skips: Sequence[Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Refine the features of all tasks together.

        Args:
            mixed: Features and intermediate prediction of every task, concatenated, [B, C, h, w].
            skips: The encoder's features for the second and the third stage.
            wanted: Keys of the tasks to return.

        Returns:
            Features of the tasks wanted, [B, wide, 8 h, 8 w].
        """
        # Features and predictions of a task to one width: [T, B, h, w, wide]
        x = torch.stack([self.mix_proj[key](mixed[key]).permute(0, 2, 3, 1) for key in self.keys])
        message = None  # scores of the attention, handed from stage to stage
        levels = []  # per stage, per task: [B, h, w, C]
        for stage, norm, skip in zip(self.stages, self.norm_mts, (None, *skips), strict=True):
            x, message = stage(x, skip, message)
            # One norm over the channels of all tasks together, [B, h, w, T C], then taken apart again
            levels.append(norm(x.permute(1, 2, 3, 0, 4).flatten(3)).chunk(len(self.keys), dim=-1))
        predicted = {}
        for key in wanted:
            task = self.keys.index(key)
            first, *maps = (level[task].permute(0, 3, 1, 2) for level in levels)  # [B, C, h, w] of each stage
            # Sum over the stages, each brought to the width of the first and the size of a quarter of the image
            total = self._enlarged(first)  # [B, wide, 8 h, 8 w]
            for map_, reduce in zip(maps, self.reductions(task)[1:], strict=True):
                total = total + self._enlarged(reduce(map_))
            predicted[key] = self.mt_proj[key](total)
        return predicted

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, coarsest first."""
        return tuple(self.invpt_stages)  # type: ignore[arg-type]

    def reductions(self, task: int) -> list[nn.Module]:
        """Return what brings the outputs of the stages for a task to one width; the first is not needed."""
        return [reduce[task] for reduce in self.redu_chan]  # type: ignore[index]

    def _enlarged(self, map_: Tensor) -> Tensor:
        return F.interpolate(map_, size=self.size, mode="bilinear", align_corners=False)


def stage_sizes(finest: Size) -> list[Size]:
    """Return heights and widths of the stages, given the last: each half of the next, rounded up."""
    sizes = [finest]
    for _ in range(2):
        height, width = sizes[0]
        sizes.insert(0, (-(-height // 2), -(-width // 2)))
    return sizes


def _dilated(before: int, channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(before, channels, 3, padding=2, dilation=2, bias=False)
    return conv, nn.BatchNorm2d(channels), nn.ReLU()


def _projection(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.trunc_normal_(conv.weight, std=0.02)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
