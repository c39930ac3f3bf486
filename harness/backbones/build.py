"""Encoders by name."""

from harness.backbones.encoder import Encoder
from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.resnet import ResNetEncoder
from harness.backbones.shapes import HRNETS, NAMES, RESNETS, SWINS, VITS
from harness.backbones.swin import SwinEncoder
from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError, unknown
from harness.weights import Weights


def build_backbone(name: str, input_size: tuple[int, int], weights: Weights = None) -> Encoder:
    """Return the encoder called ``name`` for images of ``input_size`` (height, width).

    Args:
        name: One of `NAMES`.
        input_size: Height and width of the images in pixels.
        weights: What to start from: ``"pretrained"`` for the published weights, a file, or None for random weights.

    Raises:
        UsageError: unknown name, a size the encoder cannot take, or weights that do not exist or do not fit.
        MethodError: published weights were asked for and could not be fetched.

    Examples:
        >>> import torch
        >>> from harness.backbones import build_backbone
        >>> encoder = build_backbone("resnet18", (64, 96)).eval()
        >>> encoder.channels, encoder.stride
        (512, 8)
        >>> with torch.inference_mode():
        ...     features = encoder(torch.randn(1, 3, 64, 96))
        >>> features.shape
        torch.Size([1, 512, 8, 12])
        >>> build_backbone("resnet81", (64, 96))
        Traceback (most recent call last):
        harness.errors.UsageError: unknown backbone 'resnet81'; did you mean resnet18 or resnet50 or hrnet48?
    """
    # A ViT alone has weights of the input's size: its position embeddings
    if name in VITS:
        return ViTEncoder(name, input_size, weights)
    if name in RESNETS:
        return ResNetEncoder(name, weights)
    if name in HRNETS:
        return HRNetEncoder(name, weights)
    if name in SWINS:
        return SwinEncoder(name, weights)
    raise UsageError(unknown("backbone", name, NAMES))
