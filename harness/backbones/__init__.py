"""Encoders under the names of the field, with feature taps.

Everything that imports timm goes through this package, so that torchvision is made importable first.
"""

from harness._torchvision import ensure_importable

ensure_importable()
