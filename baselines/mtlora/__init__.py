"""MTLoRA: a frozen Swin with low-rank factors of all tasks and of each (Agiza et al., CVPR 2024)."""

from harness.baselines.mtlora.method import MTLoRA

__all__ = ["MTLoRA"]
