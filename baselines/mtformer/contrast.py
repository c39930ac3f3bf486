"""What checkpoints of MTFormer hold of its contrastive loss (Xu et al., ECCV 2022); nothing here reads it."""

import torch
from torch import nn

MAPPED = 128
"""Channels of a mapped feature."""


class MemoryBank(nn.Module):
    """Mapped features of the training images for the contrastive loss of two tasks, as checkpoints hold them.

    Args:
        rows: Training images.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("params", torch.zeros(5))  # negatives, temperature, two constants, momentum
        self.register_buffer("memory_l", torch.zeros(rows, MAPPED))
        self.register_buffer("memory_ab", torch.zeros(rows, MAPPED))


def mapping(channels: int) -> nn.Sequential:
    """Return the layers that map the pooled features of a task, [B, channels] to [B, MAPPED]."""
    return nn.Sequential(nn.Linear(channels, MAPPED), nn.ReLU(), nn.Linear(MAPPED, MAPPED))
