"""Encoders under the names of the field, with feature taps.

Everything that imports timm goes through this package, so that torchvision is made importable first.
"""

from harness._torchvision import ensure_importable

ensure_importable()

from harness.backbones.build import FAMILIES, NAMES, build_backbone, facts  # noqa: E402 - timm must find torchvision
from harness.backbones.encoder import Encoder  # noqa: E402

__all__ = ["FAMILIES", "NAMES", "Encoder", "build_backbone", "facts"]
