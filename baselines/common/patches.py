"""Tokens of a ViT without class token, and the convolutional head and recipe, which TaskPrompter and MLoRE share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder, set_drop_path
from harness.method import Budget, ParameterGroup, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage

ORDER = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
"""Tasks in the order of the code base of InvPT, TaskPrompter and MLoRE."""

Published = Literal["nyud", "pascal"]
"""Data sets whose configurations are published."""


def published_for(problem: Problem) -> Published:
    """Return the data set whose configuration a set of tasks takes: PASCAL-Context's with parts or saliency.

    A method does not know the data set. Tasks that both data sets have take the configuration for NYUD-v2.
    """
    return "pascal" if {"parts", "saliency"} & set(problem.names) else "nyud"


class PatchTokens(nn.Module):
    """A ViT that carries tokens of patches alone.

    The position embeddings keep the slot of the class token, which nothing reads: published checkpoints hold it.

    Args:
        encoder: The encoder; its class token and what follows its last norm are left out.
        drop_path: Fraction of images for which the last block is left out in training, linear in depth.

    Attributes:
        grid: Rows and columns of patches.
        taps: Numbers of the four blocks after which decoders read, counted from 1, evenly spaced, the last among them.
    """

    def __init__(self, encoder: ViTEncoder, drop_path: float) -> None:
        super().__init__()
        vit = encoder.vit
        assert vit.pos_embed is not None
        set_drop_path(vit, drop_path)
        self.grid = encoder.grid
        self.taps = tuple(len(vit.blocks) * quarter // 4 for quarter in (1, 2, 3, 4))
        self.pos_embed = vit.pos_embed
        self.patch_embed = vit.patch_embed
        self.blocks: nn.Module = nn.ModuleList(vit.blocks)
        self.norm = vit.norm

    def embed(self, images: Tensor) -> Tensor:
        """Map normalised RGB [B, 3, H, W] to tokens with their positions, [B, h w, C]."""
        tokens: Tensor = self.patch_embed(images) + self.pos_embed[:, 1:]
        return tokens

    def as_map(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, h w, C] to a map [B, C, h, w]."""
        b, _, c = tokens.shape
        return tokens.transpose(1, 2).reshape(b, c, *self.grid)

    def encoder_part(self, **prompts: nn.Parameter) -> nn.Module:
        """Return what belongs to the encoder as one part, prompts that go along with the tokens included."""
        modules = {"patch_embed": self.patch_embed, "blocks": self.blocks, "norm": self.norm}
        return together(modules, {"pos_embed": self.pos_embed, **prompts})


def together(modules: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter] | None = None) -> nn.Module:
    """Return modules and parameters of a network as one part of it, for reports of sizes and costs."""
    part = nn.Module()
    for name, module in modules.items():
        part.add_module(name.replace(".", " "), module)
    for name, parameter in (parameters or {}).items():
        part.register_parameter(name, parameter)
    return part


class ConvHead(nn.Module):
    """A 3 x 3 convolution, normed and activated, and a linear prediction.

    Args:
        channels: Channels of the features.
        outputs: Channels of the prediction.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.trunc_normal_(convolution.weight, std=0.02)
        self.mt_proj = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.GELU())
        self.linear_pred = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Map features [B, channels, h, w] to a raw prediction [B, outputs, *size]."""
        prediction = self.linear_pred(self.mt_proj(features))
        return F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)


def enlarged(features: Tensor) -> Tensor:
    """Enlarge a map four times bilinearly, [B, C, h, w] to [B, C, 4h, 4w]."""
    return F.interpolate(features, scale_factor=4, mode="bilinear", align_corners=False)


ENCODER = ("backbone.pos_embed", "backbone.patch_embed.", "backbone.blocks.", "backbone.norm.")
"""Prefixes of the encoder's weights in the methods that carry `PatchTokens`, among those of what reads it."""


def with_encoder(stage: Stage, encoder: tuple[str, ...], fresh: tuple[str, ...] = ()) -> Stage:
    """Return a stage in which what learns at the encoder's rate is the encoder alone.

    Args:
        stage: A stage that takes all of ``backbone.`` for the encoder, or has one rate for all.
        encoder: Prefixes of the encoder's weights.
        fresh: Prefixes of weights among them that a started encoder does not have: they learn as the heads do.
    """
    own = tuple(replace(group, prefixes=encoder) for group in stage.groups)
    if own and fresh:
        own = (ParameterGroup(fresh, lr=stage.optimizer.lr), *own)
    return replace(stage, groups=own)


def clipped_stage(problem: Problem, budget: Budget, lr: float, fresh: tuple[str, ...] = ()) -> Stage:
    """Return a joint stage over all tasks by the recipe of TaskPrompter and MLoRE.

    ``full`` is InvPT's but for the learning rate, batches of four (two images on each of two devices) and gradients
    clipped at a norm of 10. The other budgets are those of the other baselines.

    Args:
        problem: The tasks.
        budget: The budget.
        lr: Peak learning rate of ``full``.
        fresh: See `with_encoder`.
    """
    stage = supervised_stage("joint", problem.names, budget)
    if budget != "full":
        return with_encoder(stage, ENCODER, fresh)
    return replace(stage, batch_size=4, optimizer=replace(stage.optimizer, lr=lr), clip_norm=10.0)
