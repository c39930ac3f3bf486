"""High-resolution networks (Wang et al., TPAMI 2021), built by timm."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.checkpoints import adapt_convolutional, load_weights
from harness.backbones.encoder import Encoder
from harness.weights import Weights

_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
_MOMENTUM = 0.01
"""Momentum of the batch norms, as the network was published; timm builds them with 0.1."""


@dataclass(frozen=True)
class HRNetConfig:
    """Shape of an HRNet and where its published weights come from.

    Attributes:
        model: timm name of the network.
        scale_channels: Channels of the maps at strides 4, 8, 16 and 32.
        pretrained: timm name of the published weights.
        stride: Pixels per cell of the feature map.
    """

    model: str
    scale_channels: tuple[int, int, int, int]
    pretrained: str
    stride: int = 4

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        return sum(self.scale_channels)


HRNETS = {"hrnet18-small": HRNetConfig("hrnet_w18_small_v2", (18, 36, 72, 144), "hrnet_w18_small_v2.ms_in1k")}
"""The encoders by name. The field's "HRNet-18" (MTI-Net, PAD-Net, ATRC) is this small v2, not HRNet-W18."""


class HRNetEncoder(Encoder):
    """An HRNet whose four maps are brought to stride 4 and concatenated.

    Args:
        name: Key of `HRNETS`.
        weights: What to start from.

    Attributes:
        scale_channels: Channels of the maps that `scales` returns.

    Raises:
        UsageError: the weights are missing or do not fit.
        MethodError: the published weights could not be fetched.
    """

    def __init__(self, name: str, weights: Weights = None) -> None:
        config = HRNETS[name]
        super().__init__(config.channels, config.stride, cells=config.stride // 4)
        self.scale_channels = config.scale_channels
        self.hrnet = _network(config.model)
        if weights is not None:
            adapt = partial(adapt_convolutional, keys=tuple(self.hrnet.state_dict()), classifier=_CLASSIFIER)
            self.notes = load_weights(self.hrnet, weights, adapt, name, config.pretrained)

    def scales(self, images: Tensor) -> list[Tensor]:
        """Return the maps of all four resolutions.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            [B, scale_channels[i], H/s, W/s] for the strides s = 4, 8, 16, 32.
        """
        maps: list[Tensor] = self.hrnet(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            All maps at the finest resolution, finest first: [B, channels, H/4, W/4].
        """
        maps = self.scales(images)
        return torch.cat([_resize(map_, maps[0]) for map_ in maps], dim=1)


class BilinearFusion(nn.Module):
    """One module of an HRNet: branches at several resolutions, then every map receives from every other.

    timm enlarges coarser maps by repeating cells and by whole factors. Here it is done bilinearly, as the networks of
    the field were trained, and to the size of the finer map, so that images need not be multiples of 32.

    Args:
        module: The module as timm builds it; its layers are taken over under their names.
    """

    def __init__(self, module: HighResolutionModule) -> None:
        super().__init__()
        self.branches = module.branches
        self.fuse_layers = module.fuse_layers
        for layer in self.fuse_layers.modules():
            if isinstance(layer, nn.Sequential) and isinstance(layer[-1], nn.Upsample):
                layer[-1] = nn.Identity()

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map features, one tensor per resolution, to the same shapes."""
        maps = [branch(map_) for branch, map_ in zip(self.branches, maps, strict=True)]
        return [F.relu(self._received(layers, maps, own)) for layers, own in zip(self.fuse_layers, maps, strict=True)]

    def _received(self, layers: nn.ModuleList, maps: list[Tensor], own: Tensor) -> Tensor:
        total, *others = (_resize(layer(map_), own) for layer, map_ in zip(layers, maps, strict=True))
        for other in others:
            total = total + other
        return total


def _network(model: str) -> Any:
    """Return timm's network with the fusion and the batch norms of the field's."""
    net = timm.create_model(model, features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    for stage in (net.stage2, net.stage3, net.stage4):
        assert isinstance(stage, nn.Sequential)
        for index, module in enumerate(stage):
            assert isinstance(module, HighResolutionModule)
            stage[index] = BilinearFusion(module)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = _MOMENTUM
    return net


def _resize(map_: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the height and width of another; one that has them already is returned as it is."""
    size = like.shape[-2:]
    return map_ if map_.shape[-2:] == size else F.interpolate(map_, size=size, mode="bilinear", align_corners=False)
