"""High-resolution networks (Wang et al., TPAMI 2021), built by timm."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.blocks import at_finest, resize
from harness.backbones.checkpoints import adapt_convolutional, load_weights
from harness.backbones.encoder import Encoder
from harness.backbones.shapes import HRNETS, HRNetConfig
from harness.backbones.timm_parts import HighResolutionModule, HighResolutionNet
from harness.weights import Weights

_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
"""Prefixes of what published files hold and the encoder does not."""

_MOMENTUM = 0.01
"""Momentum of the batch norms, as the network was published; timm builds them with 0.1."""


class HRNetEncoder(Encoder):
    """An HRNet whose four maps are brought to stride 4 and concatenated.

    Its layers have the names of the published network.

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
        net = _network(config)
        self.conv1, self.bn1 = net.conv1, net.bn1
        self.conv2, self.bn2 = net.conv2, net.bn2
        self.layer1 = net.layer1
        self.transition1, self.stage2 = net.transition1, _fused(net.stage2)
        self.transition2, self.stage3 = net.transition2, _fused(net.stage3)
        self.transition3, self.stage4 = net.transition3, _fused(net.stage4)
        if weights is not None:
            adapt = partial(adapt_convolutional, keys=tuple(self.state_dict()), classifier=_CLASSIFIER)
            self.notes = load_weights(self, weights, adapt, name, config.pretrained)

    def enlarge_by_factors(self) -> None:
        """Enlarge coarser maps by powers of two before they get the size of the finer one, as ATRC's code does.

        The result is the same where the sides of the image are multiples of 32.
        """
        for module in self.modules():
            if isinstance(module, BilinearFusion):
                module.by_factors = True

    def scales(self, images: Tensor) -> list[Tensor]:
        """Return the maps of all four resolutions.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            [B, scale_channels[i], H/s, W/s] for the strides s = 4, 8, 16, 32.
        """
        # Stem of two strided convolutions and the first stage, at stride 4: [B, 4 bottleneck, H/4, W/4]
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        # Every later stage adds a map at half the resolution of the last one
        maps: list[Tensor] = self.stage2([branch(x) for branch in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: Normalised RGB, [B, 3, H, W].

        Returns:
            All maps at the finest resolution, finest first: [B, channels, H/4, W/4].
        """
        return at_finest(self.scales(images))


class BilinearFusion(nn.Module):
    """One module of an HRNet: branches at several resolutions, then every map receives from every other.

    timm enlarges coarser maps by repeating cells and by whole factors. Here it is done bilinearly, as the networks of
    the field were trained, and to the size of the finer map, so that images need not be multiples of 32.

    Args:
        module: The module as timm builds it; its layers are taken over under their names.

    Attributes:
        by_factors: Whether coarser maps are enlarged by powers of two first; see `HRNetEncoder.enlarge_by_factors`.
    """

    by_factors: bool = False

    def __init__(self, module: HighResolutionModule) -> None:
        super().__init__()
        self.branches = module.branches
        self.fuse_layers = module.fuse_layers
        for layer in self.fuse_layers.modules():
            if isinstance(layer, nn.Sequential) and isinstance(layer[-1], nn.Upsample):
                layer[-1] = nn.Identity()  # `resize` enlarges instead

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map features, one tensor per resolution, to the same shapes."""
        maps = [branch(map_) for branch, map_ in zip(self.branches, maps, strict=True)]
        fused = []
        for place, (layers, own) in enumerate(zip(self.fuse_layers, maps, strict=True)):
            # y_i = relu(sum over j of f_ij(x_j)): finer maps are strided, coarser ones enlarged
            received = [layer(map_) for layer, map_ in zip(layers, maps, strict=True)]
            if self.by_factors:
                for source in range(place + 1, len(received)):
                    factor = 2.0 ** (source - place)
                    received[source] = F.interpolate(
                        received[source], scale_factor=factor, mode="bilinear", align_corners=False
                    )
            total, *others = (resize(map_, own) for map_ in received)
            for other in others:
                total = total + other
            fused.append(F.relu(total))
        return fused


def _network(config: HRNetConfig) -> HighResolutionNet:
    """Return timm's network without a head, with the batch norms of the field's."""
    shapes: dict[str, object] = {"stem_width": config.stem, "stage1": _stage(1, 1, config.blocks, (config.bottleneck,))}
    for branches, modules in enumerate(config.modules, start=2):
        shapes[f"stage{branches}"] = _stage(branches, modules, config.blocks, config.scale_channels[:branches])
    net = HighResolutionNet(shapes, num_classes=0, head="")
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = _MOMENTUM
    return net


def _stage(branches: int, modules: int, blocks: int, channels: tuple[int, ...]) -> dict[str, object]:
    """Return the shape of a stage as timm describes it."""
    return {
        "num_modules": modules,
        "num_branches": branches,
        "block_type": "BOTTLENECK" if branches == 1 else "BASIC",
        "num_blocks": (blocks,) * branches,
        "num_channels": channels,
        "fuse_method": "SUM",
    }


def _fused(stage: nn.Sequential) -> nn.Sequential:
    """Return a stage with the fusion of the field's."""
    modules = [module for module in stage if isinstance(module, HighResolutionModule)]
    assert len(modules) == len(stage)
    return nn.Sequential(*map(BilinearFusion, modules))
