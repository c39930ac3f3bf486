"""Contexts: attention of a task to all pixels of another, or to the regions of labels (paper, section 3.2)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.atrc.genotype import Genotype, Kind

_SMALLEST = 1e-12
"""Least sum of weights of the global attention, as published."""


class ConvNorm(nn.Module):
    """A convolution without bias and a batch norm, with a ReLU where asked for.

    Args:
        before: Channels that go in.
        channels: Channels that come out.
        side: Rows and columns of the kernel.
        active: Whether a ReLU follows.
    """

    def __init__(self, before: int, channels: int, side: int = 1, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, channels, side, padding=side // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, before, h, w] to [B, channels, h, w]."""
        y: Tensor = self.bn(self.conv(x))
        return y.relu() if self.active else y


class Context(nn.Module):
    """Attention of a target's pixels to a source: queries are of the target, keys and values of the source.

    Args:
        channels: Channels of the features.
        inner: Channels of queries, keys and values.
        kind: Global attention, or attention to regions.
    """

    def __init__(self, channels: int, inner: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.scale = inner**-0.5
        label = kind is not Kind.GLOBAL
        self.query_project = nn.Sequential(ConvNorm(channels, inner), ConvNorm(inner, inner, active=label))
        self.key_project = nn.Sequential(ConvNorm(channels, inner), ConvNorm(inner, inner, active=label))
        self.value_project = ConvNorm(channels, inner)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Attend.

        Args:
            target: Features of the target, [B, C, h, w].
            source: Those of the source, [B, C, h, w], or its regions, [B, C, R, 1].

        Returns:
            [B, inner, h, w].
        """
        query = self.query_project(target).flatten(2)  # [B, D, h w]
        key, value = self.key_project(source).flatten(2), self.value_project(source).flatten(2)  # [B, D, N]
        if self.kind is Kind.GLOBAL:
            # Linear attention: (V K^T) Q over the sum of its weights, with positive Q and K
            query, key = F.softplus(query), F.softplus(key)
            weights = key.sum(2, keepdim=True).transpose(1, 2) @ query  # [B, 1, h w]
            attended = (value @ key.transpose(1, 2)) @ query / weights.clamp(min=_SMALLEST)
        else:
            # softmax(q^T k / sqrt(D)) v over the regions
            weights = (query.transpose(1, 2) @ key * self.scale).softmax(-1)  # [B, h w, R]
            attended = (weights @ value.transpose(1, 2)).transpose(1, 2)
        map_: Tensor = attended.reshape(target.shape[0], -1, *target.shape[2:])
        return map_


class RelationalContext(nn.Module):
    """Contexts of every task, joined with its own features (paper, figure 2).

    Args:
        genotype: Kind of context by target and source.
        channels: Channels of the features.
    """

    def __init__(self, genotype: Genotype, channels: int) -> None:
        super().__init__()
        self.genotype = {
            target: {source: kind for source, kind in row.items() if kind is not Kind.NONE}
            for target, row in genotype.items()
        }
        inner = channels // 2
        self.cp_blocks = nn.ModuleDict()
        self.out_proj = nn.ModuleDict()
        self.bottleneck = nn.ModuleDict()
        for target, row in self.genotype.items():
            if row:
                self.cp_blocks[target] = nn.ModuleDict(
                    {source: Context(channels, inner, kind) for source, kind in row.items()}
                )
                self.out_proj[target] = joined = ConvNorm(len(row) * inner, channels, active=False)
                nn.init.zeros_(joined.bn.weight)  # contexts begin as nothing; its bias is zero already
            width = 2 * channels if row else channels
            self.bottleneck[target] = nn.Sequential(ConvNorm(width, channels), nn.Dropout2d(0.05))

    def sources(self, target: str) -> set[str]:
        """Return the tasks whose features a target reads, itself among them."""
        return {target, *self.genotype[target]}

    def forward(self, target: str, features: Mapping[str, Tensor], region: Callable[[str, str], Tensor]) -> Tensor:
        """Join the features of a target with its contexts.

        Args:
            target: Key of the task.
            features: [B, C, h, w] of the target and its sources.
            region: Returns the regions of a task's labels in the features of a source, [B, C, R, 1].

        Returns:
            [B, C, h, w].
        """
        own, row = features[target], self.genotype[target]
        if row:
            contexts = self.cp_blocks[target]
            read = []
            for source, kind in row.items():
                if kind is Kind.GLOBAL:
                    seen = features[source]
                else:
                    seen = region(target if kind is Kind.TARGET_LABEL else source, source)
                read.append(contexts[source](own, seen))  # type: ignore[index]
            own = torch.cat([own, self.out_proj[target](torch.cat(read, dim=1))], dim=1)
        joined: Tensor = self.bottleneck[target](own)
        return joined
