"""Residual networks (He et al., CVPR 2016), dilated to keep a stride of 8, built by timm."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.checkpoints import adapt_convolutional, load_weights
from harness.backbones.encoder import Encoder
from harness.backbones.shapes import RESNETS
from harness.backbones.timm_parts import BasicBlock, Bottleneck, ResNet
from harness.weights import Weights

_CLASSIFIER = ("fc.",)
"""Prefix of what published files hold and the encoder does not."""


class ResNetEncoder(Encoder):
    """A ResNet whose last two stages are dilated instead of strided.

    Its layers have the names of the published network.

    Args:
        name: Key of `RESNETS`.
        weights: What to start from.

    Attributes:
        stem_channels: Channels after the stem.
        stage_channels: Channels after each stage.

    Raises:
        UsageError: the weights are missing or do not fit.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, weights: Weights = None) -> None:
        config = RESNETS[name]
        super().__init__(config.channels, config.stride, cells=config.stride // 4)
        self.stage_channels = config.stage_channels
        # timm does not declare its layers, takes the class of a block and declares an instance
        block: Any = Bottleneck if config.bottleneck else BasicBlock
        widths = tuple(channels // block.expansion for channels in config.stage_channels)
        # A stride of 8 dilates the third stage by 2 and the fourth by 4
        net: Any = ResNet(
            block, config.blocks, channels=widths, num_classes=0, global_pool="", output_stride=config.stride
        )
        self.stem_channels: int = net.conv1.out_channels
        self.conv1, self.bn1 = net.conv1, net.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        if weights is not None:
            adapt = partial(adapt_convolutional, keys=tuple(self.state_dict()), classifier=_CLASSIFIER)
            self.notes = load_weights(self, weights, adapt, name, config.pretrained)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages, each a sequence of blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    @property
    def sections(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The stem and the four stages: what makes up `forward`, one after another."""
        return self.stem, *self.stages

    def stem(self, images: Tensor) -> Tensor:
        """Return what the first stage reads: [B, 3, H, W] to [B, 64, H/4, W/4]."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)  # 7 x 7, stride 2: [B, 64, H/2, W/2]
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            The last stage's map, [B, channels, H/8, W/8].
        """
        features = images
        for section in self.sections:
            features = section(features)  # strides 4, 4, 8, 8, 8
        return features
