"""Encoders under the names of the field, with feature taps.

Everything that imports timm goes through this package, so that torchvision is made importable first.
"""

import importlib
from typing import TYPE_CHECKING, Any

from harness.backbones.shapes import FAMILIES, NAMES, facts

if TYPE_CHECKING:  # imported when they are first used: names are listed without torch
    from harness.backbones.build import build_backbone
    from harness.backbones.encoder import Encoder

__all__ = ["FAMILIES", "NAMES", "Encoder", "build_backbone", "facts"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "build" if name == "build_backbone" else "encoder"
    return getattr(importlib.import_module(f"harness.backbones.{place}"), name)
