"""Routers of MLoRE: weights of the experts, by task and image."""

import torch
from torch import Tensor, nn

from harness.training import parallel
from harness.training.synchronised import noise_like


class Pooling(nn.Module):
    """A vector of a map, half of it pooled over space behind a layer of channels, half over a learned mask of space.

    Args:
        channels: Channels F of the map.
        patches: Cells of the map.
    """

    def __init__(self, channels: int, patches: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.conv1 = nn.Conv2d(channels, quarter, 1)
        self.ln = nn.LayerNorm(quarter)
        self.convsp = nn.Linear(patches, 1)
        self.ln_sp = nn.LayerNorm(channels)
        self.conv2 = nn.Conv2d(channels, quarter, 1)
        self.conv3 = nn.Conv2d(quarter, quarter, 1)
        self.activation = nn.GELU()

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, F, h, w] to [B, 2 (F // 4), 1, 1]."""
        # 1. By cell: F -> F/4, norm, GELU, and the mean, which the last layer, being linear, may follow
        by_cell = self.activation(self.ln(self.conv1(map_).movedim(1, -1)))
        from_cells = self.conv3(by_cell.mean((1, 2))[..., None, None])  # [B, F/4, 1, 1]
        # 2. By channel: a weighted sum over all cells, norm, GELU, F -> F/4
        by_channel = self.activation(self.ln_sp(self.convsp(map_.flatten(2))[..., 0]))  # [B, F]
        return torch.cat([from_cells, self.conv2(by_channel[..., None, None])], dim=1)


class Router(nn.ModuleList):
    """Weights of the experts and of the task's own convolution (paper, section 3.2, as the released code has it).

    Args:
        channels: Channels of the map.
        patches: Cells of the map.
        experts: Number of experts E.
    """

    def __init__(self, channels: int, patches: int, experts: int) -> None:
        super().__init__([Pooling(channels, patches), nn.Conv2d(channels // 4 * 2, 2 * experts + 1, 1)])

    def forward(self, map_: Tensor, active: int, early: bool) -> tuple[Tensor, Tensor]:
        """Choose.

        In training, logits are disturbed by noise whose standard deviation is predicted too.

        Args:
            map_: [B, F, h, w].
            active: Experts with a weight; the others have zero.
            early: Whether the softmax is over the active experts alone, not over all before the others are dropped.

        Returns:
            Weights of the experts [B, E], and that of the task's convolution [B, 1], any number.
        """
        pooling, last = self
        output: Tensor = last(pooling(map_))[..., 0, 0]
        experts = output.shape[1] // 2
        logits, deviation, mix = output[:, :experts], output[:, experts:-1], output[:, -1:]
        if self.training:
            logits = logits + noise_like(logits) * deviation
        dropped = logits.topk(experts - active, dim=1, largest=False).indices
        if early:
            return logits.scatter(1, dropped, -1e10).softmax(1), mix
        return logits.softmax(1).scatter(1, dropped, 0.0), mix  # they need not sum to one


def imbalance(routes: Tensor) -> Tensor:
    """Return the squared coefficient of variation of the experts' mean weights over the whole batch.

    Args:
        routes: Weights of the experts for tasks and images, [..., E].
    """
    weights = routes.flatten(0, -2)
    # Over the images of all processes: it is no mean of what each of them would find
    mean = parallel.summed(weights.sum(0)) / parallel.summed(weights.new_tensor(len(weights)))
    return (mean.std() / mean.mean()).square()
