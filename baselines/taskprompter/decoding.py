"""Layers of TaskPrompter that make features of a task of what its prompt attends to, over space and over channels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.baselines.taskprompter.prompting import Reading, onto_cells, over_windows


class Mixers(nn.ModuleDict):
    """Weights of the features of all tasks in those of each, from the scores between prompts; keys are the tasks.

    Args:
        keys: The tasks.
        heads: Attention heads of the encoder.
    """

    def __init__(self, keys: Sequence[str], heads: int) -> None:
        layers = {key: nn.Sequential(nn.Conv2d(heads, heads, 1), nn.GELU(), nn.Conv2d(heads, 1, 1)) for key in keys}
        super().__init__(layers)

    def forward(self, scores: Tensor, features: Sequence[Tensor], wanted: Sequence[str]) -> list[Tensor]:
        """Mix.

        Args:
            scores: Scores of prompts with prompts, [B, heads, T, T].
            features: [B, C, h, w] of every task.
            wanted: Tasks to mix for.

        Returns:
            [B, C, h, w] of every task wanted: sums over all tasks, whose weights are no probabilities.
        """
        stacked = torch.stack(list(features), dim=1)  # [B, T, C, h, w]
        mixed = []
        for place, (key, layers) in enumerate(self.items()):
            if key in wanted:
                weights = layers(scores[:, :, place, None])  # [B, 1, 1, T]
                mixed.append((weights[:, 0, 0, :, None, None, None] * stacked).sum(1))
        return mixed


def fusion(inner: int, channels: int) -> nn.Sequential:
    """Return the layers that fuse features by space and by channels, [B, 2 inner, h, w] to [B, channels, h, w]."""
    return nn.Sequential(
        nn.Conv2d(2 * inner, channels, 1),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.GELU(),
        nn.Conv2d(channels, channels, 1),
    )


class Attended:
    """A map of the encoder, weighted by what the prompts of tasks attend to (section 3.2).

    Args:
        map_: [B, C, h, w].
        reading: What was read of the block before it.
        side: Windows of the channel branch along each side.
    """

    def __init__(self, map_: Tensor, reading: Reading, side: int) -> None:
        self.map = map_
        self.grid = (map_.shape[2], map_.shape[3])
        self.scores = reading.scores
        self.windows = over_windows(reading.channel_prompts, reading.normed, self.grid, side)

    def over_space(self, task: int) -> Tensor:
        """Weight every head's channels by its scores of the prompt with the patches; the map is added: [B, C, h, w]."""
        prompts = self.scores.shape[2]
        b, heads = self.scores.shape[:2]
        weights = self.scores[:, :, task, prompts:].reshape(b, heads, 1, *self.grid)
        by_head = self.map.view(b, heads, -1, *self.grid)  # [B, heads, C / heads, h, w]
        return (by_head + weights * by_head).flatten(1, 2)

    def over_channels(self, task: int) -> Tensor:
        """Weight the channels of every window by their products with the prompt; the map is added: [B, C, h, w]."""
        return self.map + onto_cells(self.windows[:, task], self.grid) * self.map
