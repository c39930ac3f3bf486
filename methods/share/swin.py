"""Swin Transformer as a function of its weights: tokens are the cells of the map of each stage, row by row."""

from itertools import accumulate

from torch import Tensor, nn
from torch.func import functional_call

from harness.backbones import Encoder
from harness.backbones.blocks import at_finest
from harness.backbones.swin import SwinEncoder
from harness.backbones.swin_layers import SwinBlock
from harness.backbones.vit import ViTEncoder
from harness.backbones.windows import Windows
from harness.errors import UsageError
from harness.methods.share.block import BlockWeights
from harness.methods.share.encoder import FunctionalEncoder, FunctionalViT, Resolution, Weights
from harness.methods.share.windows import Partition

_FIRST_READ = 1
"""First level that heads read."""


class FunctionalSwin(FunctionalEncoder):
    """The computations of a Swin.

    Blocks are numbered through all stages. The merging of cells before a stage belongs to its first block, so that the
    tokens after a block are those that heads read.

    Args:
        encoder: Gives the architecture; its own weights are not used.
        input_size: (height, width) of the images.
    """

    def __init__(self, encoder: SwinEncoder, input_size: tuple[int, int]) -> None:
        self.module = self.swin = encoder
        self.eps: float = encoder.get_submodule("norm0").eps  # type: ignore[assignment]
        depths = [
            sum(1 for _ in encoder.get_submodule(f"layers.{stage}.blocks").children())
            for stage in range(len(encoder.level_channels))
        ]
        self.starts = [0, *accumulate(depths)]
        height, width = (-(-side // encoder.patch_embed.patch) for side in input_size)
        self.sizes: list[tuple[int, int]] = []
        resolutions = []
        self._partitions: dict[tuple[int, int], Partition] = {}  # by stage and shift
        for stage, depth in enumerate(depths):
            self.sizes.append((height, width))
            norm = f"norm{stage}" if stage >= _FIRST_READ else None
            blocks = range(self.starts[stage], self.starts[stage] + depth)
            resolutions.append(Resolution(blocks, height * width, encoder.level_channels[stage], norm))
            for index in blocks:
                block = self._block(index, stage)
                windows = Windows(height, width, block.side, block.shift)
                self._partitions.setdefault((stage, block.shift), Partition(windows))
            height, width = -(-height // 2), -(-width // 2)
        self.resolutions = tuple(resolutions)

    def tables(self) -> list[nn.Module]:
        """Return the partitions of the maps into windows."""
        return list(self._partitions.values())

    def embed(self, weights: Weights, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to tokens [B, H/4 W/4, D]."""
        return _called(self.swin.patch_embed, weights, "patch_embed.", images).flatten(1, 2)

    def enter(self, weights: Weights, index: int, x: Tensor) -> Tensor:
        """Merge four tokens to one before the first block of a later stage."""
        stage = self._stage(index)
        if stage == 0 or index > self.starts[stage]:
            return x
        map_ = x.view(len(x), *self.sizes[stage - 1], x.shape[-1])
        name = f"layers.{stage - 1}.downsample."
        return _called(self.swin.get_submodule(name[:-1]), weights, name, map_).flatten(1, 2)

    def prefix(self, index: int) -> str:
        """Return the prefix of the names of a block's weights."""
        stage = self._stage(index)
        return f"layers.{stage}.blocks.{index - self.starts[stage]}."

    def block_weights(self, weights: Weights, index: int) -> BlockWeights:
        """Return the weights of a block, with its windows."""
        block = self._block(index, stage := self._stage(index))
        partition = self._partitions[stage, block.shift]
        return BlockWeights.of(weights, self.prefix(index), block.attn.heads, partition, self.eps)

    def pairs(self, index: int) -> int:
        """Return the pairs of a query and a key in a block: all cells of a window ask each other."""
        partition = self._partitions[stage := self._stage(index), self._block(index, stage).shift]
        return partition.count * partition.cells**2

    def block_of(self, name: str) -> int | None:
        """Return the first block that depends on a weight; None for the embedding and the norms of the levels."""
        parts = name.split(".")
        if parts[0] != "layers":
            return None
        stage = int(parts[1])
        return self.starts[stage + 1] if parts[2] == "downsample" else self.starts[stage] + int(parts[3])

    def assembled(self, levels: list[Tensor]) -> Tensor:
        """Return the maps of all levels that heads read at the finest of them, concatenated."""
        sizes = self.sizes[_FIRST_READ:]
        maps = [
            level.transpose(1, 2).reshape(*level.shape[::2], *size) for level, size in zip(levels, sizes, strict=True)
        ]
        return at_finest(maps)

    def _stage(self, index: int) -> int:
        return next(stage for stage, end in enumerate(self.starts[1:]) if index < end)

    def _block(self, index: int, stage: int) -> SwinBlock:
        block = self.swin.get_submodule(f"layers.{stage}.blocks.{index - self.starts[stage]}")
        assert isinstance(block, SwinBlock)
        return block


def _called(module: nn.Module, weights: Weights, prefix: str, x: Tensor) -> Tensor:
    """Call a part of an encoder with the weights whose names start with ``prefix``."""
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    result: Tensor = functional_call(module, own, x)
    return result


def functional_of(encoder: Encoder, input_size: tuple[int, int]) -> FunctionalViT | FunctionalSwin:
    """Return the computations of an encoder for images of ``input_size``.

    Raises:
        UsageError: it is no vision transformer and no Swin.
    """
    if isinstance(encoder, ViTEncoder):
        return FunctionalViT(encoder)
    if isinstance(encoder, SwinEncoder):
        return FunctionalSwin(encoder, input_size)
    raise UsageError("method share: needs a vision transformer or a Swin; leave out -b for its own")
