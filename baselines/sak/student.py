"""Student of SAK: a ViT, a path of adapters beside it for every teacher, and routers that mix them for every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder
from harness.training.synchronised import noise_like


@dataclass(frozen=True)
class Design:
    """Shape of the student, by the names of the published configurations.

    Attributes:
        teachers: Channels of every teacher's maps by its name, in their order; read with ``aligner`` alone.
        down_ratio: The student's width over that of an adapter.
        noisy_gating: Whether routers predict the deviation of a noise in training.
        aligner: Whether every path ends in a layer to the width of its teacher, which distillation alone reads.
    """

    teachers: Mapping[str, int]
    down_ratio: int
    noisy_gating: bool
    aligner: bool


class Adapter(nn.Module):
    """A residual bottleneck, x + scale up(GELU(down(x))).

    Args:
        channels: Channels of a token.
        ratio: Their quotient by those in between.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.down = nn.Linear(channels, channels // ratio)
        self.up = nn.Linear(channels // ratio, channels)
        for layer in (self.down, self.up):
            init_linear(layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map [B, N, C] to the same shape."""
        added: Tensor = self.up(F.gelu(self.down(tokens)))
        return tokens + self.scale * added


class TokenRouter(nn.Module):
    """Probabilities of the sources of a task's features, from the student's tokens (paper, section 3.3).

    Args:
        channels: Channels of a token.
        sources: The student and its teachers.
        noisy: Whether a deviation is predicted beside every logit.
    """

    def __init__(self, channels: int, sources: int, noisy: bool) -> None:
        super().__init__()
        self.noisy = noisy
        first, last = nn.Linear(channels, channels // 2), nn.Linear(channels // 2, (1 + noisy) * sources)
        for layer in (first, last):
            init_linear(layer)
        self.module = nn.Sequential(first, nn.LayerNorm(channels // 2), nn.GELU(), last)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, N, C] to probabilities [B, sources]; the mean precedes the last layer, which is linear."""
        *layers, last = self.module
        hidden = tokens
        for layer in layers:
            hidden = layer(hidden)
        output: Tensor = last(hidden.mean(1))
        if not self.noisy:
            return output.softmax(1)
        logits, deviation = output.chunk(2, dim=1)
        if self.training:
            logits = logits + noise_like(logits) * (F.softplus(deviation) + _LEAST_NOISE)
        return logits.softmax(1)


_LEAST_NOISE = 0.01
"""Added to the predicted deviations, as published."""


class Mixing(nn.Module):
    """A router in the place that it has in checkpoints; the arguments are those of `TokenRouter`."""

    def __init__(self, channels: int, sources: int, noisy: bool) -> None:
        super().__init__()
        self.router = TokenRouter(channels, sources, noisy)

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        """Return the expectation over sources of tokens [B, N, C], the student's first."""
        weights = self.router(sources[0])[..., None, None]  # [B, sources, 1, 1]
        mixed: Tensor = weights[:, 0] * sources[0]
        for place, tokens in enumerate(sources[1:], 1):
            mixed = mixed + weights[:, place] * tokens
        return mixed


class Student(nn.Module):
    """The ViT with its teacher paths and the routers of all tasks (section 3.2).

    Args:
        encoder: The encoder; its last norm is left out.
        keys: The tasks by the reference's names, in its order.
        design: The shape.

    Attributes:
        taps: Numbers of the four blocks after which tasks read, counted from 0, evenly spaced, the last among them.
    """

    def __init__(self, encoder: ViTEncoder, keys: Sequence[str], design: Design) -> None:
        super().__init__()
        channels, depth = encoder.channels, len(encoder.vit.blocks)
        self.grid = encoder.grid
        self.taps = tuple(depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
        self.vit = encoder.vit
        self.vit.norm = nn.Identity()
        self.tsap = nn.ModuleDict(
            {
                teacher: nn.ModuleList(Adapter(channels, design.down_ratio) for _ in range(depth + 1))
                for teacher in design.teachers
            }
        )
        outputs = [(f"{tap}_{teacher}", width) for tap in self.taps for teacher, width in design.teachers.items()]
        self.out_norms = nn.ModuleDict({name: nn.LayerNorm(channels) for name, _ in outputs})
        if design.aligner:  # read by the distillation from teachers, which is not part of this project
            self.ts_aligners = nn.ModuleDict({name: nn.Linear(channels, width) for name, width in outputs})
            for layer in self.ts_aligners.values():
                assert isinstance(layer, nn.Linear)
                init_linear(layer)
        sources = 1 + len(design.teachers)
        self.mor = nn.ModuleDict(
            {f"{tap}_{key}": Mixing(channels, sources, design.noisy_gating) for tap in self.taps for key in keys}
        )

    def forward(self, images: Tensor, wanted: Sequence[str]) -> dict[str, list[Tensor]]:
        """Return the tokens of patches of the tasks wanted at each of four levels, [B, h w, C]."""
        vit, adapters = self.vit, [(name, list(path.children())) for name, path in self.tsap.items()]
        assert vit.cls_token is not None
        assert vit.pos_embed is not None
        patches = vit.patch_embed(images)
        # [B, 1 + h w, C], the class token first
        tokens = torch.cat([vit.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + vit.pos_embed
        paths = {teacher: path[0](tokens) for teacher, path in adapters}
        features: dict[str, list[Tensor]] = {key: [] for key in wanted}
        for number, block in enumerate(vit.blocks):
            tokens = block(tokens)
            # r <- A(r + x) beside every block
            paths = {teacher: path[number + 1](paths[teacher] + tokens) for teacher, path in adapters}
            if number in self.taps:
                normed = [self.out_norms[f"{number}_{teacher}"](path[:, 1:]) for teacher, path in paths.items()]
                for key in wanted:
                    features[key].append(self.mor[f"{number}_{key}"]([tokens[:, 1:], *normed]))
        return features


def init_linear(layer: nn.Linear) -> None:
    """Draw the weights of a layer as published."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
