"""Residual networks (He et al., CVPR 2016), dilated to keep a stride of 8, built by timm."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
from torch import Tensor, nn

from harness.backbones.checkpoints import adapt_convolutional, load_weights
from harness.backbones.encoder import Encoder
from harness.weights import Weights

_CLASSIFIER = ("fc.",)


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a ResNet and where its published weights come from.

    Attributes:
        model: timm name of the network.
        stage_channels: Channels after each of the four stages.
        pretrained: timm name of the published weights.
        stride: Pixels per cell of the feature map.
    """

    model: str
    stage_channels: tuple[int, int, int, int]
    pretrained: str
    stride: int = 8

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return self.stage_channels[-1]


RESNETS = {
    "resnet18": ResNetConfig("resnet18", (64, 128, 256, 512), "resnet18.tv_in1k"),
    "resnet50": ResNetConfig("resnet50", (256, 512, 1024, 2048), "resnet50.tv_in1k"),
}
"""The encoders by name, with torchvision's first ImageNet weights, which the field's baselines start from."""


class ResNetEncoder(Encoder):
    """A ResNet whose last two stages are dilated instead of strided.

    Args:
        name: Key of `RESNETS`.
        weights: What to start from.

    Attributes:
        stage_channels: Channels after each stage.

    Raises:
        UsageError: the weights are missing or do not fit.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, weights: Weights = None) -> None:
        config = RESNETS[name]
        super().__init__(config.channels, config.stride, cells=config.stride // 4)
        self.stage_channels = config.stage_channels
        # Any: timm's networks do not declare their layers
        self.resnet: Any = timm.create_model(config.model, num_classes=0, global_pool="", output_stride=config.stride)
        if weights is not None:
            adapt = partial(adapt_convolutional, keys=tuple(self.resnet.state_dict()), classifier=_CLASSIFIER)
            self.notes = load_weights(self.resnet, weights, adapt, name, config.pretrained)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages, each a sequence of blocks."""
        net = self.resnet
        return net.layer1, net.layer2, net.layer3, net.layer4

    def stem(self, images: Tensor) -> Tensor:
        """Return what the first stage reads: [B, 3, H, W] to [B, 64, H/4, W/4]."""
        net = self.resnet
        features: Tensor = net.maxpool(net.act1(net.bn1(net.conv1(images))))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            The last stage's map, [B, channels, H/8, W/8].
        """
        features = self.stem(images)
        for stage in self.stages:
            features = stage(features)
        return features
