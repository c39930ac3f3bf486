"""What MTI-Net does at one scale."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from harness.backbones.blocks import basic_block
from harness.baselines.common.reference import channels_of, key_of
from harness.problem import TaskSpec


class Scale(nn.Module):
    """Makes features of every task at one scale, and first predictions from them.

    Tasks are told apart by the reference's names.

    Args:
        tasks: The tasks.
        in_channels: Channels of what every task reads.
        channels: Channels of the features.
    """

    def __init__(self, tasks: Sequence[TaskSpec], in_channels: int, channels: int) -> None:
        super().__init__()
        self.refinement = nn.ModuleDict(
            {
                key_of(task.name): nn.Sequential(basic_block(in_channels, channels), basic_block(channels, channels))
                for task in tasks
            }
        )
        self.decoders = nn.ModuleDict({key_of(task.name): nn.Conv2d(channels, channels_of(task), 1) for task in tasks})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map inputs by task, [B, in_channels, h, w], to features [B, channels, h, w]."""
        return {task: self.refinement[task](map_) for task, map_ in inputs.items()}

    def predict(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map features by task to raw predictions of the same height and width."""
        return {task: self.decoders[task](map_) for task, map_ in features.items()}
