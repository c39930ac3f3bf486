"""Plain vision transformers (Dosovitskiy et al., ICLR 2021), built by timm."""

from dataclasses import dataclass
from itertools import pairwise

import timm
from timm.layers.norm import LayerNorm2d
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from harness.backbones.encoder import Encoder
from harness.errors import MethodError, UsageError


@dataclass(frozen=True)
class ViTConfig:
    """Shape of a ViT and where its published weights come from.

    Attributes:
        patch: Side of a patch in pixels.
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads.
        weights: timm name of the published weights; None where there are none.
        stem: Channels of the convolutions before the last of the patch embedding, each halving the map; empty for
            the plain patch embedding.
    """

    patch: int
    width: int
    depth: int
    heads: int
    weights: str | None
    stem: tuple[int, ...] = ()


VITS = {
    "vit-micro": ViTConfig(8, 96, 4, 2, None, stem=(24, 48)),
    "vit-t16": ViTConfig(16, 192, 12, 3, "vit_tiny_patch16_384.augreg_in21k_ft_in1k"),
    "vit-s16": ViTConfig(16, 384, 12, 6, "vit_small_patch16_384.augreg_in21k_ft_in1k"),
    "vit-b16": ViTConfig(16, 768, 12, 12, "vit_base_patch16_384.augreg_in21k_ft_in1k"),
    "vit-l16": ViTConfig(16, 1024, 24, 16, "vit_large_patch16_384.augreg_in21k_ft_in1k"),
}
"""The encoders by name. ``vit-micro`` is ours, small enough to train on a CPU in a minute; without its convolutional
stem (Xiao et al., NeurIPS 2021) it would not learn global tasks in that time."""


class ViTEncoder(Encoder):
    """A ViT whose last normalised tokens are returned as a map.

    Args:
        name: Key of `VITS`.
        input_size: (height, width) in pixels, multiples of the patch size.
        pretrained: Start from the published weights, position embeddings resampled to this size.

    Raises:
        UsageError: the input size is no multiple of the patch size, or there are no published weights.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, input_size: tuple[int, int], pretrained: bool = False) -> None:
        config = VITS[name]
        super().__init__(config.width, config.patch)
        if any(side % config.patch for side in input_size):
            raise UsageError(f"backbone {name}: input {input_size} is no multiple of the patch size {config.patch}")
        self.grid = (input_size[0] // config.patch, input_size[1] // config.patch)
        self.vit = _vit(config, input_size)
        if config.stem:
            self.vit.patch_embed.proj = convolutional_stem((3, *config.stem, config.width))
        if pretrained:
            self.vit.load_state_dict(_published(name, config, self.grid))

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            The last tokens after the final norm, class token dropped: [B, channels, H/stride, W/stride].
        """
        tokens: Tensor = self.vit.forward_features(images)[:, self.vit.num_prefix_tokens :]
        b, _, c = tokens.shape
        return tokens.transpose(1, 2).reshape(b, c, *self.grid)


def _vit(config: ViTConfig, input_size: tuple[int, int]) -> VisionTransformer:
    return VisionTransformer(
        img_size=input_size,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        num_classes=0,
    )


def convolutional_stem(channels: tuple[int, ...]) -> nn.Sequential:
    """Return convolutions 3x3 of stride 2 from ``channels[0]`` to ``channels[-1]``, normed and activated in between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), LayerNorm2d(after), nn.GELU()]
    return nn.Sequential(*layers[:-2])


def _published(name: str, config: ViTConfig, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Fetch published weights; bicubic position resampling without antialias, as the field's code does it."""
    if config.weights is None:
        raise UsageError(f"backbone {name} has no published weights; use --init random")
    try:
        state: dict[str, Tensor] = timm.create_model(config.weights, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub client raises errors of many libraries
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(
            f"backbone {name}: the weights {config.weights} could not be fetched ({reason}); "
            f"go online once, or use --init random"
        ) from error
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], list(grid), num_prefix_tokens=1, interpolation="bicubic", antialias=False
    )
    return state
