"""Encoders by name."""

from harness.backbones.encoder import Encoder
from harness.backbones.vit import VITS, ViTEncoder
from harness.errors import UsageError, unknown

NAMES = tuple(VITS)


def build_backbone(name: str, input_size: tuple[int, int], pretrained: bool = False) -> Encoder:
    """Return the encoder called ``name`` for images of ``input_size`` (height, width).

    Raises:
        UsageError: unknown name, or a size the encoder cannot take.
        MethodError: published weights were asked for and could not be fetched.
    """
    if name not in VITS:
        raise UsageError(unknown("backbone", name, NAMES))
    return ViTEncoder(name, input_size, pretrained)
