"""What tasks tell each other in PAD-Net (Xu et al., CVPR 2018, multi-modal distillation C) and MTI-Net."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.common.reference import key_of
from harness.problem import TaskSpec


class Message(nn.Module):
    """Weights of what one task receives from another: features, and the mask that gates them.

    Args:
        channels: Channels of both tasks' features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    @property
    def kernels(self) -> tuple[Tensor, Tensor]:
        """Kernels of the features and of the mask, each [C, C, 3, 3]."""
        [attention] = self.attention
        assert isinstance(attention, nn.Conv2d)
        return self.conv.weight, attention.weight


class Distillation(nn.Module):
    """Adds to every task's features what it receives from the others: conv(f) * sigmoid(attention(f)).

    Tasks are told apart by the reference's names. No two pairs of tasks share a weight.

    Args:
        targets: Tasks that receive.
        sources: Tasks that send, the targets among them.
        channels: Channels of every task's features.
    """

    def __init__(self, targets: Sequence[TaskSpec], sources: Sequence[TaskSpec], channels: int) -> None:
        super().__init__()
        keys = [key_of(task.name) for task in sources]
        self.self_attention = nn.ModuleDict(
            {
                target: nn.ModuleDict({source: Message(channels) for source in keys if source != target})
                for target in (key_of(task.name) for task in targets)
            }
        )

    def forward(self, features: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """Distil.

        All that a task sends is one convolution, whose kernels are put together here: the receivers read the same map.

        Args:
            features: [B, C, h, w] of every source.
            targets: Tasks to distil for.

        Returns:
            [B, C, h, w] of every target.
        """
        received = {target: features[target] for target in targets}
        for source, map_ in features.items():
            others = [target for target in targets if target != source]
            if not others:
                continue
            features_of, masks_of = zip(*(self._message(target, source).kernels for target in others), strict=True)
            values, masks = F.conv2d(map_, torch.cat(features_of + masks_of), padding=1).chunk(2, dim=1)
            for target, value in zip(others, (values * masks.sigmoid()).chunk(len(others), dim=1), strict=True):
                received[target] = received[target] + value
        return received

    def _message(self, target: str, source: str) -> Message:
        messages = self.self_attention[target]
        assert isinstance(messages, nn.ModuleDict)
        message = messages[source]
        assert isinstance(message, Message)
        return message
