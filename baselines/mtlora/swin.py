"""A Swin whose linear layers are adapted; the last block of every stage gives a map per task (paper, section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.swin import SwinEncoder
from harness.backbones.swin_layers import PatchMerging, SwinBlock, SwinStage
from harness.backbones.windows import WindowAttention, WindowBias, Windows, split_heads
from harness.baselines.mtlora.adapted import AdaptedLinear, Ranks

Maps = dict[str, Tensor]
"""Maps [B, H, W, C] by key of the task."""


class AdaptedAttention(WindowBias):
    """Self-attention in windows with adapted projections.

    Args:
        attention: The attention whose weights are taken over.
        ranks: Ranks and scales of the factors.
        tasks: Tasks for which the output projection has factors of their own.
    """

    def __init__(self, attention: WindowAttention, ranks: Ranks, tasks: Sequence[str]) -> None:
        super().__init__(attention.heads, 1)
        self.relative_position_bias_table = attention.relative_position_bias_table
        self.relative_position_index = attention.relative_position_index
        self.qkv = AdaptedLinear(attention.qkv, ranks)
        self.proj = AdaptedLinear(attention.proj, ranks, tasks)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows [B n, N, C] to the same shape, before the output projection; the mask is `Windows.mask`."""
        query, key, value = split_heads(self.qkv(windows), 3, self.heads)
        return self.attend(query, key, value, mask, scale=query.shape[-1] ** -0.5)


class AdaptedMlp(nn.Module):
    """The two adapted layers of a block's MLP.

    Args:
        first: C to 4 C.
        second: 4 C to C.
        ranks: Ranks and scales of the factors.
        tasks: Tasks with factors of their own.
    """

    def __init__(self, first: nn.Linear, second: nn.Linear, ranks: Ranks, tasks: Sequence[str]) -> None:
        super().__init__()
        self.fc1 = AdaptedLinear(first, ranks, tasks)
        self.fc2 = AdaptedLinear(second, ranks, tasks)

    def forward(self, map_: Tensor) -> Tensor:
        """Map the features of all tasks, [..., C], to the same shape."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(map_)))
        return mapped


class AdaptedBlock(nn.Module):
    """A Swin block with adapted layers.

    As in the classifier's code, which the authors built on, windows are not shifted where one covers the map, and the
    mask of shifted windows is a buffer of the size of the map.

    Args:
        block: The block whose weights are taken over.
        size: Height and width of its map.
        ranks: Ranks and scales of the factors.
        tasks: Tasks that the block gives maps of; empty for all but the last block of a stage.
    """

    def __init__(self, block: SwinBlock, size: tuple[int, int], ranks: Ranks, tasks: Sequence[str]) -> None:
        super().__init__()
        self.windows = Windows(*size, block.side, block.shift if min(size) > block.side else 0)
        self.attn_mask: Tensor | None
        mask = self.windows.mask(block.norm1.weight.device)
        self.register_buffer("attn_mask", None if mask is None else mask[:, 0])  # [n, N, N]
        self.norm1 = block.norm1
        self.attn = AdaptedAttention(block.attn, ranks, tasks)
        self.drop_path = block.drop_path
        self.norm2 = block.norm2
        first, second = block.mlp.fc1, block.mlp.fc2
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        self.mlp = AdaptedMlp(first, second, ranks, tasks)

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, H, W, C] to the same shape."""
        mixed = self.attn.proj(self._attended(map_))
        map_ = map_ + self.drop_path(self.windows.join(mixed))
        result: Tensor = map_ + self.drop_path(self.mlp(self.norm2(map_)))
        return result

    def for_tasks(self, map_: Tensor, tasks: Sequence[str], common: bool) -> tuple[Tensor, Maps]:
        """Map [B, H, W, C] to the same shape for all tasks and for each of ``tasks``.

        Args:
            map_: Features of all tasks.
            tasks: Tasks wanted.
            common: Whether the features of all tasks are read later; without it they lack a product.
        """
        # 1. Attention is common up to its projection: y = x + proj(attention), y_t = x + proj_t(attention)
        attended = self._attended(map_)
        dropped = self.attn.proj.dropped(attended)
        mixed, own = self.attn.proj.for_tasks(attended, dict.fromkeys(tasks, dropped))
        shared = map_ + self.drop_path(self.windows.join(mixed))
        maps = {task: map_ + self.drop_path(self.windows.join(each)) for task, each in own.items()}
        # 2. MLP: its weights multiply the common features alone, the factors of a task those of the task
        hidden, own = self.mlp.fc1.for_tasks(self.norm2(shared), {task: self.norm2(y) for task, y in maps.items()})
        hidden, own = F.gelu(hidden), {task: F.gelu(each) for task, each in own.items()}
        mapped, own = self.mlp.fc2.for_tasks(hidden, own, common)
        # 3. Residuals
        return shared + self.drop_path(mapped), {task: y + self.drop_path(own[task]) for task, y in maps.items()}

    def _attended(self, map_: Tensor) -> Tensor:
        """Return the windows of a map after attention, before its projection, [B n, N, C]."""
        mask = None if self.attn_mask is None else self.attn_mask[:, None]
        attended: Tensor = self.attn(self.windows.cut(self.norm1(map_)), mask)
        return attended


class AdaptedStage(nn.Module):
    """Blocks at one resolution and what leads to the next.

    Args:
        stage: The stage whose weights are taken over.
        size: Height and width of its map.
        ranks: Ranks and scales of the factors.
        tasks: Keys of all tasks.
        plus: Whether the merging of cells is adapted, too (MTLoRA+).
    """

    def __init__(self, stage: SwinStage, size: tuple[int, int], ranks: Ranks, tasks: Sequence[str], plus: bool) -> None:
        super().__init__()
        *_, last = stage.blocks
        self.blocks = nn.ModuleList()
        for block in stage.blocks:
            assert isinstance(block, SwinBlock)
            self.blocks.append(AdaptedBlock(block, size, ranks, tasks if block is last else ()))
        self.downsample = stage.downsample
        self.merges = isinstance(stage.downsample, PatchMerging)
        if plus and isinstance(stage.downsample, PatchMerging):
            self.downsample.add_module("reduction", AdaptedLinear(stage.downsample.reduction, ranks))

    def forward(self, map_: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Maps]:
        """Map [B, H, W, C] to the next resolution, [B, H/2, W/2, 2 C] rounded up, for all tasks and for each.

        The last stage keeps the size; nothing reads its features of all tasks.
        """
        *before, last = self.blocks
        for block in before:
            map_ = block(map_)
        shared, maps = last.for_tasks(map_, tasks, common=self.merges)  # type: ignore[operator]
        if self.merges:
            # Merged together: [(1 + T) B, H, W, C]
            merged = self.downsample(torch.cat([shared, *maps.values()])).unflatten(0, (1 + len(maps), -1))
            shared, maps = merged[0], dict(zip(maps, merged[1:], strict=True))
        return shared, maps


class AdaptedSwin(nn.Module):
    """A Swin with adapted layers, under the keys of the authors' code.

    Args:
        encoder: The Swin whose weights are taken over; the norms of its levels are left.
        input_size: Height and width of the images.
        ranks: Ranks and scales of the factors.
        tasks: Keys of all tasks.
        plus: Whether the merging of cells is adapted, too (MTLoRA+).
    """

    def __init__(
        self, encoder: SwinEncoder, input_size: tuple[int, int], ranks: Ranks, tasks: Sequence[str], plus: bool
    ) -> None:
        super().__init__()
        self.patch_embed = encoder.patch_embed
        stages = []
        height, width = (-(-side // encoder.patch_embed.patch) for side in input_size)
        for stage in encoder.layers:
            assert isinstance(stage, SwinStage)
            stages.append(AdaptedStage(stage, (height, width), ranks, tasks, plus))
            height, width = -(-height // 2), -(-width // 2)
        self.layers = nn.ModuleList(stages)

    def forward(self, images: Tensor, tasks: Sequence[str]) -> list[Maps]:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].
            tasks: Keys of the tasks wanted.

        Returns:
            Maps of every task after each stage, [B, C, H/s, W/s] rounded up, at strides s = 8, 16, 32, 32.
        """
        map_ = self.patch_embed(images)  # [B, H/4, W/4, C]
        levels = []
        for stage in self.layers:
            map_, maps = stage(map_, tasks)
            levels.append({task: own.permute(0, 3, 1, 2) for task, own in maps.items()})
        return levels
