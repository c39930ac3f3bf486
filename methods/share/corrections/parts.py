"""Parts of a sub-task beside its head: low-rank correction, detail of the pixels, own blocks, norm."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.backbones.vit import ViTEncoder
from harness.heads.convnext import head_width
from harness.methods.share.block import EPS
from harness.methods.share.corrections.settings import Setting, first_block_of, settings_of
from harness.methods.share.options import ShareOptions
from harness.problem import TaskSpec


@dataclass(frozen=True)
class Shape:
    """Sizes of a sub-task's parts.

    Attributes:
        width: Channels of a token, D.
        levels: Numbers of blocks after which the correction reads the base's tokens; 0 is before the first.
        rank: Rank r of the correction; 0 for none.
        cell: Pixels along the side of a cell of the head's map.
        cell_channels: Channels of that map; 0 where the head gets no detail.
        blocks: Own blocks.
        own_keys: Whether these have keys and values of their own, because all tokens go through them.
    """

    width: int
    levels: tuple[int, ...]
    rank: int
    cell: int
    cell_channels: int
    blocks: range
    own_keys: bool


def shape_of(options: ShareOptions, task: str, encoder: ViTEncoder) -> Shape:
    """Return the sizes of a sub-task's parts under the options."""
    width, depth = encoder.channels, len(encoder.vit.blocks)
    first = first_block_of(options, task)
    detailed = options.detail == "all" or options.detail == task
    return Shape(
        width=width,
        levels=spread(options.levels, depth),
        rank=width // 4 if options.rank is None else options.rank,
        cell=max(1, encoder.stride // encoder.cells),
        cell_channels=head_width(task, width, encoder.cells) // encoder.cells**2 if detailed else 0,
        blocks=range(depth if first is None or options.rows == 0 else first, depth),
        own_keys=options.rows == 1,
    )


def spread(count: int, depth: int) -> tuple[int, ...]:
    """Return at most ``count`` levels of ``depth`` + 1, evenly from before the first block to after the last.

    >>> spread(5, 12), spread(1, 12), spread(9, 4)
    ((0, 3, 6, 9, 12), (12,), (0, 1, 2, 3, 4))
    """
    if count == 1:
        return (depth,)
    return tuple(sorted({round(number * depth / (count - 1)) for number in range(count)}))


class OwnBlock(nn.Module):
    """Weights of a sub-task's own transformer block; without own keys its ``qkv`` gives queries alone.

    Args:
        width: Channels of a token, D.
        hidden: Channels of the MLP's hidden layer.
        own_keys: Whether it has keys and values.
    """

    def __init__(self, width: int, hidden: int, own_keys: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * width if own_keys else width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    @torch.no_grad()
    def start_as(self, block: nn.Module) -> None:
        """Copy a block of the base."""
        for name, own in self.named_parameters():
            place = name if name.startswith("norm") else f"{'attn' if name[0] in 'qp' else 'mlp'}.{name}"
            own.copy_(block.get_parameter(place)[: len(own)])  # queries come first in `qkv`


class Correction(nn.Module):
    """Everything a sub-task has beside its head. It starts as the base: correction 0, norm and blocks copied.

    Args:
        shape: Sizes.
        hidden: Channels of the hidden layer of own blocks.
        ladder: Settings that it is trained for, from cheap to dear.
    """

    def __init__(self, shape: Shape, hidden: int, ladder: tuple[Setting, ...]) -> None:
        super().__init__()
        self.shape, self.ladder = shape, ladder
        width, own = shape.width, len(shape.blocks) > 0
        # c = x_L + gelu([n(x_t)]_t V + v) U, with U = 0 at the start
        self.inward = nn.Linear(len(shape.levels) * width, shape.rank) if shape.rank else None
        self.outward = nn.Parameter(torch.zeros(shape.rank, width)) if shape.rank else None
        # The head's own convolutions have a bias, so that the pixels need none.
        pixels = 3 * shape.cell**2
        self.detail = nn.Linear(pixels, shape.cell_channels, bias=False) if shape.cell_channels else None
        self.scorer = nn.Linear(width, 1) if own and not shape.own_keys else None
        self.blocks = nn.ModuleDict({str(index): OwnBlock(width, hidden, shape.own_keys) for index in shape.blocks})
        self.norm = nn.LayerNorm(width, eps=EPS)

    @torch.no_grad()
    def start_as(self, base: ViTEncoder) -> None:
        """Copy the norm and the last blocks of a base, trained by now."""
        self.norm.load_state_dict(base.vit.norm.state_dict())
        for index, block in self.blocks.items():
            assert isinstance(block, OwnBlock)
            block.start_as(base.vit.blocks[int(index)])

    def own(self, index: int) -> OwnBlock:
        """Return the own block ``index`` of the encoder."""
        block = self.blocks[str(index)]
        assert isinstance(block, OwnBlock)
        return block


def untrained(task: TaskSpec, base: ViTEncoder, options: ShareOptions) -> Correction:
    """Return the untrained parts of a sub-task; its weights follow from the seed in force and the task's name alone."""
    ladder = settings_of(options, task.name, len(base.vit.blocks))
    with seeded(f"correction/{task.name}"):
        correction = Correction(shape_of(options, task.name, base), hidden_width(base), ladder)
    correction.start_as(base)
    return correction


def hidden_width(base: ViTEncoder) -> int:
    """Return the channels of the hidden layer of an encoder's blocks."""
    return len(base.vit.get_parameter("blocks.0.mlp.fc1.weight"))


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Draw inside from the seed in force and ``name`` alone, and leave the draws outside as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{torch.initial_seed()}/{name}".encode()))
        yield


def pixels_of(images: Tensor, cell: int) -> Tensor:
    """Return the pixels of every cell, [B, 3, H, W] to [B, H / cell, W / cell, 3 cell^2], in one copy.

    The channels are ordered (colour, row, column), as `torch.nn.functional.pixel_unshuffle` orders them.
    """
    b, colours, height, width = images.shape
    cells = images.view(b, colours, height // cell, cell, width // cell, cell)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(b, height // cell, width // cell, colours * cell**2)
