"""MTI-Net: tasks exchange at four scales (Vandenhende et al., ECCV 2020)."""

from harness.baselines.mti_net.method import MTINet

__all__ = ["MTINet"]
