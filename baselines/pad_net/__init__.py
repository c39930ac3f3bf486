"""PAD-Net: first predictions of all tasks guide the final ones (Xu et al., CVPR 2018)."""

from harness.baselines.pad_net.method import PADNet

__all__ = ["PADNet"]
