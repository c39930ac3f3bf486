"""InvPT: the Inverted Pyramid multi-task Transformer (Ye and Xu, ECCV 2022)."""

from harness.baselines.invpt.method import InvPT

__all__ = ["InvPT"]
