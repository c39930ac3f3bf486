"""TSP-Transformer's network: InvPT whose encoder reads prompts of every task (Wang et al., WACV 2024)."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder, as_map, embedded
from harness.baselines.common.tasks import in_order
from harness.baselines.invpt.decoder import Design
from harness.baselines.invpt.model import ORDER, InvPTOnViT
from harness.counting import attributed_to
from harness.errors import UsageError
from harness.problem import Problem

_INITIALS = {"semseg": "S", "depth": "D", "parts": "P", "saliency": "Sa", "normals": "N", "boundary": "E"}
"""Tasks to the beginnings of the names of their prompts; tasks that the authors do not have keep their whole name."""


def prompt_key(task: str) -> str:
    """Return the name of a task's prompts in checkpoints, without the prefix of the encoder."""
    return f"{_INITIALS.get(task, task)}Prompt_Tokens"


@dataclass(frozen=True)
class Prompts:
    """The blocks that read prompts, and how many.

    Attributes:
        blocks: Their numbers, from 0.
        tokens: Prompts of a task in a block.
    """

    blocks: range
    tokens: int

    @classmethod
    def on(cls, depth: int, kind: Literal["deep", "shallow"], layers: int | None, tokens: int) -> Self:
        """Return the prompts of an encoder of ``depth`` blocks; ``layers`` is where they begin or end.

        Raises:
            UsageError: ``layers`` leaves no block.
        """
        border = depth // 2 if layers is None else layers
        if border > depth - (kind == "deep"):
            raise UsageError(
                f"method tsp: prompt_layers={border} of an encoder of {depth} blocks leaves none for prompts"
            )
        return cls(range(border, depth) if kind == "deep" else range(border), tokens)


class PromptedInvPT(InvPTOnViT):
    """InvPT on a ViT that is run for every task with prompts of its own (paper, section 3.1).

    The last map of a task is the task's own. The features of the skip connections are the mean over the tasks; since
    what reads them is linear, it reads the mean of the maps.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder; the prompts become parameters of its network, as in checkpoints.
        design: Where it is read, and the widths of the decoder.
        prompts: The blocks that read prompts.
    """

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: Design, prompts: Prompts) -> None:
        super().__init__(problem, encoder, design)
        self.prompts = prompts
        self.keys = [prompt_key(task.name) for task in in_order(problem, ORDER)]
        for key in self.keys:  # zero at the start, as published
            tokens = torch.zeros(len(prompts.blocks), prompts.tokens, encoder.channels)
            self.backbone.register_parameter(key, nn.Parameter(tokens))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the encoder after two of its blocks, mean over the tasks, and at its end, [T, B, C, h, w]."""
        vit, first = self.backbone, self.prompts.blocks.start
        tasks, batch = len(self.keys), images.shape[0]
        with attributed_to("encoder"):  # it is not called as a module
            # [T, blocks with prompts, P, C]
            prompts = torch.stack([vit.get_parameter(key) for key in self.keys])
            tokens = embedded(vit, images)  # [B, N, C], and [T B, N, C] from the first block with prompts on
            taps = {}
            for number, block in enumerate(vit.blocks):
                if number == first:
                    tokens = tokens.repeat(tasks, 1, 1)
                if number in self.prompts.blocks:
                    # Prompts stand behind the patches, and what the block makes of them is left out
                    own = prompts[:, number - first, None].expand(-1, batch, -1, -1).flatten(0, 1)  # [T B, P, C]
                    tokens = block(torch.cat([tokens, own], dim=1))[:, : tokens.shape[1]]
                else:
                    tokens = block(tokens)
                if number + 1 in self.taps:
                    mean = tokens.view(-1, batch, *tokens.shape[1:]).mean(0)  # [B, N, C]
                    taps[number + 1] = as_map(vit, mean)  # [B, C, h, w]
            last = as_map(vit, vit.norm(tokens))  # [T B, C, h, w]
        fine, middle = (taps[number] for number in self.taps)
        resized = F.interpolate(last, size=self.size, mode="bilinear", align_corners=False)
        return fine, middle, resized.view(tasks, batch, *resized.shape[1:])
