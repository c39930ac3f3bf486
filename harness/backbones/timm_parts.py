"""Parts of timm that encoders are built of.

timm imports torchvision, which is made importable first: all of this project takes timm from here.
"""

from harness._torchvision import ensure_importable

ensure_importable()

import timm  # noqa: E402 - torchvision must be importable first
from timm.layers.drop import DropPath, drop_path  # noqa: E402
from timm.layers.mlp import Mlp  # noqa: E402
from timm.layers.norm import LayerNorm2d  # noqa: E402
from timm.layers.pos_embed import resample_abs_pos_embed  # noqa: E402
from timm.models.hrnet import HighResolutionModule, HighResolutionNet  # noqa: E402
from timm.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "DropPath",
    "HighResolutionModule",
    "HighResolutionNet",
    "LayerNorm2d",
    "Mlp",
    "ResNet",
    "VisionTransformer",
    "drop_path",
    "resample_abs_pos_embed",
    "timm",
]
