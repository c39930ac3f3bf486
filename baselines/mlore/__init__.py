"""MLoRE: a mixture of low-rank experts that tasks share (Yang et al., CVPR 2024)."""

from harness.baselines.mlore.method import MLoRE

__all__ = ["MLoRE"]
