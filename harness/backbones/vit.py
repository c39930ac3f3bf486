"""Plain vision transformers (Dosovitskiy et al., ICLR 2021), built by timm."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from harness.backbones.checkpoints import adapt_vit, load_weights
from harness.backbones.encoder import Encoder
from harness.backbones.own_weights import GRID
from harness.backbones.shapes import OWN, VITS
from harness.backbones.timm_parts import DropPath, LayerNorm2d, VisionTransformer
from harness.errors import UsageError
from harness.weights import Weights


class ViTEncoder(Encoder):
    """A ViT whose last normalised tokens are returned as a map.

    Heads unfold a token into 4 x 4 cells whatever its patch, as the head they share does with patches of 16 pixels.

    Args:
        name: Key of `VITS`.
        input_size: (height, width) in pixels, multiples of the patch size.
        weights: What to start from; position embeddings are resampled to this size.

    Raises:
        UsageError: the input size is no multiple of the patch size, or the weights are missing or do not fit.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, input_size: tuple[int, int], weights: Weights = None) -> None:
        config = VITS[name]
        super().__init__(config.channels, config.stride, cells=4)
        if any(side % config.patch for side in input_size):
            raise UsageError(f"backbone {name}: input {input_size} is no multiple of the patch size {config.patch}")
        # Rows and columns of tokens
        self.grid = (input_size[0] // config.patch, input_size[1] // config.patch)
        # Width, depth and heads as published; norms before every branch, a class token, no classifier
        self.vit = VisionTransformer(
            img_size=input_size,
            patch_size=config.patch,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            num_classes=0,
        )
        if config.stem:
            self.vit.patch_embed.proj = convolutional_stem((3, *config.stem, config.width))
        if weights is not None:
            learned = GRID if weights == "pretrained" and name in OWN else None
            adapt = partial(adapt_vit, grid=self.grid, width=config.width, learned=learned)
            self.notes = load_weights(self.vit, weights, adapt, name, config.pretrained)

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            The last tokens after the final norm, class token dropped: [B, channels, H/stride, W/stride].
        """
        # Without the class token: [B, h w, C]
        tokens: Tensor = self.vit.forward_features(images)[:, self.vit.num_prefix_tokens :]
        b, _, c = tokens.shape
        return tokens.transpose(1, 2).reshape(b, c, *self.grid)


def tapped(vit: VisionTransformer, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Encode, and read the tokens on the way.

    Args:
        vit: The network.
        images: Normalised RGB, [B, 3, H, W].
        blocks: Numbers of blocks after which to read, from 1.

    Returns:
        The tokens after each of them, which are not normed, and the last after the final norm; all as maps without
        the class token, [B, C, H/patch, W/patch].
    """
    # timm counts blocks from 0; maps of the taps are [B, C, h, w] already
    tokens: Tensor
    tokens, taps = vit.forward_intermediates(images, indices=[block - 1 for block in blocks])  # type: ignore[assignment]
    return [*taps, as_map(vit, tokens)]


def embedded(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Return the tokens that the first block reads, [B, prefix + h w, C]."""
    tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    return tokens


def as_map(vit: VisionTransformer, tokens: Tensor) -> Tensor:
    """Return tokens without those of the prefix as maps, [B, prefix + h w, C] to [B, C, h, w]."""
    b, _, c = tokens.shape
    return tokens[:, vit.num_prefix_tokens :].transpose(1, 2).reshape(b, c, *vit.patch_embed.grid_size)


def set_drop_path(vit: VisionTransformer, largest: float) -> None:
    """Leave blocks out at random in training (stochastic depth), the first never, the last at this rate."""
    for index, block in enumerate(vit.blocks):
        rate = largest * index / max(1, len(vit.blocks) - 1)  # linear in depth (Huang et al., ECCV 2016)
        block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)


def convolutional_stem(channels: tuple[int, ...]) -> nn.Sequential:
    """Return convolutions 3x3 of stride 2 from ``channels[0]`` to ``channels[-1]``, normed and activated in between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), LayerNorm2d(after), nn.GELU()]
    return nn.Sequential(*layers[:-2])  # nothing after the last convolution
