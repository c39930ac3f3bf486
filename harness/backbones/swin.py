"""Swin Transformers (Liu et al., ICCV 2021) with feature taps, as dense prediction uses them."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from harness.backbones.blocks import at_finest
from harness.backbones.checkpoints import adapt_swin, load_weights
from harness.backbones.encoder import Encoder
from harness.backbones.shapes import LEVELS, SWINS
from harness.backbones.swin_layers import PatchEmbed, SwinStage, init_swin, set_drop_path
from harness.backbones.vit import convolutional_stem
from harness.weights import Weights

_PATCH = 4
"""Side of a patch in pixels, the same in all published Swins."""


class SwinEncoder(Encoder):
    """A Swin whose levels are read before their cells are merged, each through its own norm.

    It takes images of any size. The keys of its weights are those of the authors' segmentation network:
    ``patch_embed``, ``layers.<stage>.blocks.<block>``, ``layers.<stage>.downsample``, ``norm<stage>``. It is written
    out here because timm shifts a map before it pads it, which the networks of the field do not.

    Args:
        name: Key of `SWINS`.
        weights: What to start from.

    Attributes:
        level_channels: Channels of the maps that `levels` returns.

    Raises:
        UsageError: the weights are missing or do not fit.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, weights: Weights = None) -> None:
        config = SWINS[name]
        super().__init__(config.channels, config.stride, cells=config.stride // 4)
        self.level_channels = config.level_channels
        stem = config.stem
        projection = (
            convolutional_stem((3, *stem, config.width)) if stem else nn.Conv2d(3, config.width, _PATCH, stride=_PATCH)
        )
        self.patch_embed = PatchEmbed(projection, config.width, _PATCH)
        shapes = zip(config.level_channels, config.depths, config.heads, strict=True)
        self.layers = nn.ModuleList(
            SwinStage(channels, depth, heads, config.window, merging=level < LEVELS - 1)
            for level, (channels, depth, heads) in enumerate(shapes)
        )
        for level, channels in enumerate(config.level_channels):
            self.add_module(f"norm{level}", nn.LayerNorm(channels))
        self.apply(init_swin)
        if weights is not None:
            adapt = partial(adapt_swin, own=self.state_dict())
            self.notes = load_weights(self, weights, adapt, name, config.pretrained)

    def set_drop_path(self, largest: float) -> None:
        """Leave blocks out at random in training (stochastic depth), the first never, the last at this rate."""
        set_drop_path([block for stage in self.layers for block in stage.blocks], largest)  # type: ignore[union-attr]

    def levels(self, images: Tensor, wanted: Sequence[int] = range(LEVELS)) -> list[Tensor]:
        """Return the maps of several resolutions.

        Args:
            images: Normalised RGB, [B, 3, H, W].
            wanted: Which levels, from 0 to 3; the others are not normed, and none after the last is computed.

        Returns:
            [B, level_channels[i], H/s, W/s], rounded up, for the levels i wanted at strides s = 4, 8, 16, 32.
        """
        map_ = self.patch_embed(images)  # [B, H/4, W/4, C]
        maps = []
        for level in range(max(wanted) + 1):
            stage = self.layers[level]
            map_ = stage(map_)
            if level in wanted:
                # Normed before merging, channels first: [B, C_i, H/s, W/s]
                maps.append(self.get_submodule(f"norm{level}")(map_).permute(0, 3, 1, 2))
            if level < max(wanted):
                # [B, H/2s, W/2s, 2 C_i]
                map_ = stage.downsample(map_)  # type: ignore[operator]
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            The maps of stride 8, 16 and 32 at stride 8, finest first, as MTFormer takes them (Xu et al., ECCV 2022):
            [B, channels, H/8, W/8].
        """
        return at_finest(self.levels(images, (1, 2, 3)))
