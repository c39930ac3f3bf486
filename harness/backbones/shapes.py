"""Shapes of the encoders by family and name, known without the networks."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ViTConfig:
    """Shape of a ViT and where its published weights come from.

    Attributes:
        patch: Side of a patch in pixels.
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads.
        pretrained: timm name of the published weights; None where there are none.
        stem: Channels of the convolutions before the last of the patch embedding, each halving the map; empty for
            the plain patch embedding.
    """

    patch: int
    width: int
    depth: int
    heads: int
    pretrained: str | None
    stem: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return self.width

    @property
    def stride(self) -> int:
        """Pixels per cell of the feature map."""
        return self.patch


VITS = {
    "vit-micro": ViTConfig(8, 96, 4, 2, None, stem=(24, 48)),
    "vit-t16": ViTConfig(16, 192, 12, 3, "vit_tiny_patch16_384.augreg_in21k_ft_in1k"),
    "vit-s16": ViTConfig(16, 384, 12, 6, "vit_small_patch16_384.augreg_in21k_ft_in1k"),
    "vit-b16": ViTConfig(16, 768, 12, 12, "vit_base_patch16_384.augreg_in21k_ft_in1k"),
    "vit-l16": ViTConfig(16, 1024, 24, 16, "vit_large_patch16_384.augreg_in21k_ft_in1k"),
}
"""The encoders by name. ``vit-micro`` is ours, small enough to train on a CPU in a minute; without its convolutional
stem (Xiao et al., NeurIPS 2021) it would not learn global tasks in that time."""


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a ResNet and where its published weights come from.

    Attributes:
        stage_channels: Channels after each of the four stages.
        blocks: Blocks of each stage.
        bottleneck: Whether the blocks are 1 x 1, 3 x 3 and 1 x 1 convolutions; else they are two of 3 x 3.
        pretrained: timm name of the published weights; None where there are none.
        stride: Pixels per cell of the feature map.
    """

    stage_channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    pretrained: str | None
    stride: int = 8

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return self.stage_channels[-1]


RESNETS = {
    "resnet-micro": ResNetConfig((16, 32, 64, 96), (2, 2, 2, 2), False, None),
    "resnet18": ResNetConfig((64, 128, 256, 512), (2, 2, 2, 2), False, "resnet18.tv_in1k"),
    "resnet50": ResNetConfig((256, 512, 1024, 2048), (3, 4, 6, 3), True, "resnet50.tv_in1k"),
}
"""The encoders by name, with torchvision's first ImageNet weights, which the field's baselines start from.
``resnet-micro`` is ours, small enough to train on a CPU in a minute."""


@dataclass(frozen=True)
class HRNetConfig:
    """Shape of an HRNet and where its published weights come from.

    Attributes:
        scale_channels: Channels of the maps at strides 4, 8, 16 and 32.
        stem: Channels of the first convolution; the second has 64.
        bottleneck: Channels between the narrow ends of the first stage's blocks, which give four times as many.
        modules: Modules of the second, third and fourth stage.
        blocks: Blocks of the first stage, and of every branch of a module.
        pretrained: timm name of the published weights; None where there are none.
        stride: Pixels per cell of the feature map.
    """

    scale_channels: tuple[int, int, int, int]
    stem: int
    bottleneck: int
    modules: tuple[int, int, int]
    blocks: int
    pretrained: str | None
    stride: int = 4

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return sum(self.scale_channels)


HRNETS = {
    "hrnet-micro": HRNetConfig((16, 32, 64, 128), 32, 16, (1, 1, 1), 1, None),
    "hrnet18-small": HRNetConfig((18, 36, 72, 144), 64, 64, (1, 3, 2), 2, "hrnet_w18_small_v2.ms_in1k"),
    "hrnet48": HRNetConfig((48, 96, 192, 384), 64, 64, (1, 4, 3), 4, "hrnet_w48.ms_in1k"),
}
"""The encoders by name. The field's "HRNet-18" (MTI-Net, PAD-Net, ATRC) is this small v2, not HRNet-W18.
``hrnet-micro`` is ours, small enough to train on a CPU in a minute."""


LEVELS = 4
"""Stages of a Swin, whose maps have strides of 4, 8, 16 and 32."""


@dataclass(frozen=True)
class SwinConfig:
    """Shape of a Swin and where its published weights come from.

    Attributes:
        width: Channels of a patch; every later stage doubles them.
        depths: Blocks of the four stages.
        heads: Attention heads of the four stages.
        pretrained: timm name of the published weights; None where there are none.
        window: Rows and columns of a window.
        stem: Channels of the convolution before the last of the patch embedding, each halving the map; empty for
            the plain patch embedding.
        stride: Pixels per cell of the feature map.
    """

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    pretrained: str | None
    window: int = 7
    stem: tuple[int, ...] = ()
    stride: int = 8

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of the maps at strides 4, 8, 16 and 32."""
        return tuple(self.width << level for level in range(LEVELS))

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return sum(self.level_channels[1:])


SWINS = {
    "swin-micro": SwinConfig(32, (2, 2, 2, 2), (1, 2, 4, 8), None, stem=(24,)),
    "swin-t": SwinConfig(96, (2, 2, 6, 2), (3, 6, 12, 24), "swin_tiny_patch4_window7_224.ms_in1k"),
    "swin-s": SwinConfig(96, (2, 2, 18, 2), (3, 6, 12, 24), "swin_small_patch4_window7_224.ms_in1k"),
    "swin-b": SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), "swin_base_patch4_window7_224.ms_in1k"),
    "swin-l": SwinConfig(192, (2, 2, 18, 2), (6, 12, 24, 48), "swin_large_patch4_window7_224.ms_in22k_ft_in1k"),
}
"""The encoders by name, with windows of 7 x 7 cells. ``swin-micro`` is ours, small enough to train on a CPU in a
minute; it has a convolutional stem for the reason that ``vit-micro`` has one."""


FAMILIES: dict[str, dict[str, ViTConfig] | dict[str, ResNetConfig] | dict[str, HRNetConfig] | dict[str, SwinConfig]] = {
    "vit": VITS,
    "resnet": RESNETS,
    "hrnet": HRNETS,
    "swin": SWINS,
}
"""The encoders' shapes by family and name."""

NAMES = tuple(name for configs in FAMILIES.values() for name in configs)

FOLDER = Path(__file__).parent / "own"
"""Weights of the small encoders, pretrained by this project; see `harness.backbones.own_weights`."""

OWN = frozenset(path.stem for path in FOLDER.glob("*.safetensors"))
"""Names of the encoders that have such weights."""


def facts(name: str) -> dict[str, object]:
    """Return the family and the shape of the encoder called ``name``, one of `NAMES`."""
    family, config = next((family, configs[name]) for family, configs in FAMILIES.items() if name in configs)
    own = {"pretrained": "rendered scenes, by this project"} if name in OWN else {}
    return {"family": family, "channels": config.channels, "stride": config.stride, **vars(config), **own}
