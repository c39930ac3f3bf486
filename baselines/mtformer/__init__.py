"""MTFormer: shared and private Swin blocks, then attention across tasks (Xu et al., ECCV 2022)."""

from harness.baselines.mtformer.method import MTFormer

__all__ = ["MTFormer"]
