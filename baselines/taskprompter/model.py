"""Network of TaskPrompter: an encoder with prompts, features of every task from what prompts attend to, heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import ORDER, ConvHead, PatchTokens, enlarged, together
from harness.baselines.common.tasks import in_order, key_of
from harness.baselines.taskprompter.decoding import Attended, Mixers, fusion
from harness.baselines.taskprompter.prompting import PromptedBlock
from harness.counting import attributed_to
from harness.method import MultiTaskModel, Predictions
from harness.problem import Problem


@dataclass(frozen=True)
class Design:
    """The decoder on an encoder, by the names of the published configurations.

    Attributes:
        embed_dim: Channels of the features of a task by space and by channels, before they are fused.
        final_embed_dim: Channels of the features of a task.
        chan_nheads: Windows of the channel branch, a square number.
        use_ctr: Whether the features of all tasks are mixed by the attention between their prompts.
        lr: Peak learning rate of the full budget.
        drop_path: Largest rate of stochastic depth.
    """

    embed_dim: int
    final_embed_dim: int
    chan_nheads: int
    use_ctr: bool
    lr: float = 2e-5
    drop_path: float = 0.15


class PromptedTokens(PatchTokens):
    """The encoder with prompts, and the layers that make features of every task of what it computes (section 3).

    Args:
        encoder: The encoder.
        keys: The tasks by the reference's names, in its order.
        design: The widths.
    """

    blocks: nn.ModuleList

    def __init__(self, encoder: ViTEncoder, keys: Sequence[str], design: Design) -> None:
        super().__init__(encoder, design.drop_path)
        self.keys = tuple(keys)
        self.side = isqrt(design.chan_nheads)
        channels, inner, wide = encoder.channels, design.embed_dim, design.final_embed_dim
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        patches = self.grid[0] * self.grid[1]
        self.task_prompts = nn.Parameter(torch.empty(len(keys), channels))
        nn.init.trunc_normal_(self.task_prompts, mean=1.0, std=1.0)
        self.blocks = nn.ModuleList(PromptedBlock(block, len(keys), patches) for block in blocks)
        # By level and task: encoder's width -> inner, over space and over channels, and their fusion
        self.fea_fuse = nn.ModuleList(nn.ModuleDict({key: fusion(inner, wide) for key in keys}) for _ in self.taps)
        self.fea_decode_spa, self.fea_decode_chan = (
            nn.ModuleList(
                nn.ModuleDict({key: nn.Sequential(nn.Conv2d(channels, inner, 1)) for key in keys}) for _ in self.taps
            )
            for _ in range(2)
        )
        if design.use_ctr:
            attention = blocks[0].attn
            assert isinstance(attention, Attention)
            self.ctr_attn_conv = nn.ModuleList(Mixers(keys, attention.num_heads) for _ in self.taps)
        self.mixed = design.use_ctr

    def forward(self, images: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the features of the tasks wanted, [B, final_embed_dim, 4h, 4w] for h x w patches."""
        levels = [self._features(level, attended, wanted) for level, attended in enumerate(self._read(images))]
        return {key: enlarged(torch.stack(maps).sum(0)) for key, *maps in zip(wanted, *levels, strict=True)}

    def _read(self, images: Tensor) -> list[Attended]:
        """Return the maps after the blocks that are read, with what prompts attend to there; the last is normed."""
        read = []
        with attributed_to("encoder"):
            patches = self.embed(images)
            tokens = torch.cat([self.task_prompts.expand(patches.shape[0], -1, -1), patches], dim=1)  # [B, T + N, C]
            for number, block in enumerate(self.blocks, 1):
                last = number == len(self.blocks)
                tokens, reading = block(tokens, number in self.taps, last)
                if reading is not None:
                    own = self.norm(tokens) if last else tokens[:, len(self.keys) :]
                    read.append(Attended(self.as_map(own), reading, self.side))
        return read

    def _features(self, level: int, attended: Attended, wanted: Sequence[str]) -> list[Tensor]:
        """Return the features of the tasks wanted at a level, [B, final_embed_dim, h, w]."""
        features = []
        for task, key in enumerate(self.keys):
            if self.mixed or key in wanted:
                spatial = self.get_submodule(f"fea_decode_spa.{level}.{key}")(attended.over_space(task))
                channel = self.get_submodule(f"fea_decode_chan.{level}.{key}")(attended.over_channels(task))
                fuse = self.get_submodule(f"fea_fuse.{level}.{key}")
                features.append(fuse(torch.cat([spatial, channel], dim=1)))
        if self.mixed:
            # a_t1 f_1 + ... + a_tT f_T for every task t wanted
            mixed: list[Tensor] = self.ctr_attn_conv[level](attended.scores[..., : len(self.keys)], features, wanted)
            return mixed
        return features


class TaskPrompterNet(MultiTaskModel):
    """Prompts of tasks go through a ViT with the tokens of an image; what they attend to makes the features of tasks.

    Its state-dict keys are the reference's. Of the last block, the layer that returns channel prompts to tokens is in
    published checkpoints and serves nothing; products that the authors' code discards are not computed.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: The widths.
    """

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: Design) -> None:
        super().__init__(problem)
        outputs = {key_of(task.name): task.channels for task in in_order(problem, ORDER)}
        self.notes = encoder.notes
        self.backbone = PromptedTokens(encoder, tuple(outputs), design)
        self.unused = (f"backbone.blocks.{len(self.backbone.blocks) - 1}.attn.token_trans1.",)
        self.heads = nn.ModuleDict({key: ConvHead(design.final_embed_dim, out) for key, out in outputs.items()})

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; the features of other tasks are computed where they are mixed with those asked for."""
        names = tasks or self.problem.names
        # In the reference's order, whatever the order asked for
        wanted = [key for key in self.backbone.keys if key in {key_of(name) for name in names}]
        features = self.backbone(images, wanted)
        size = self.problem.input_size
        return {name: self.heads[key_of(name)](features[key_of(name)], size) for name in names}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder with its prompts, and the layers of every task."""
        backbone = self.backbone
        parts = {"encoder": backbone.encoder_part(task_prompts=backbone.task_prompts)}
        for name in self.problem.names:
            key = key_of(name)
            by_level = {
                f"{kind} {level}": layers[key]
                for kind in ("fea_decode_spa", "fea_decode_chan", "fea_fuse", "ctr_attn_conv")
                for level, layers in enumerate(getattr(backbone, kind, ()))
            }
            parts[f"features/{name}"] = together(by_level)
            parts[f"head/{name}"] = self.heads[key]
        return parts
