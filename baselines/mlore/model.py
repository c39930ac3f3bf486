"""Network of MLoRE: a ViT, two mixtures of experts at each of four levels, a mask of the levels, heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import ORDER, ConvHead, PatchTokens, enlarged, together
from harness.baselines.common.tasks import in_order, key_of
from harness.baselines.mlore.experts import Mixture, Widths
from harness.baselines.mlore.routing import imbalance
from harness.counting import attributed_to
from harness.errors import MethodError
from harness.method import MultiTaskModel, Predictions
from harness.problem import Problem

Variant = Literal["vitL", "vitB"]
"""The two public model files, by the encoder they are for."""


@dataclass(frozen=True)
class Design:
    """The decoder on an encoder.

    Attributes:
        widths: Shape of the mixtures.
        variant: ``vitB`` has weights that serve nothing.
        lr: Peak learning rate of the full budget.
        load_balancing: Weight of the auxiliary loss that balances the experts.
        drop_path: Largest rate of stochastic depth.
    """

    widths: Widths
    variant: Variant = "vitL"
    lr: float = 2e-5
    load_balancing: float = 1e-4
    drop_path: float = 0.15


class ExpertTokens(PatchTokens):
    """The encoder, and the mixtures that make features of every task of its maps (section 3).

    Args:
        encoder: The encoder.
        keys: The tasks by the reference's names, in its order.
        design: The widths.
    """

    def __init__(self, encoder: ViTEncoder, keys: Sequence[str], design: Design) -> None:
        super().__init__(encoder, design.drop_path)
        f, levels, patches = design.widths.final_embed_dim, len(self.taps), self.grid[0] * self.grid[1]
        self.fea_fuse = nn.ModuleList(nn.Conv2d(encoder.channels, f, 1) for _ in self.taps)
        self.MLoRE_1, self.MLoRE_2 = (
            nn.ModuleList(Mixture(keys, design.widths, patches) for _ in self.taps) for _ in range(2)
        )
        self.task_mask = nn.ModuleDict(
            {
                key: nn.Sequential(
                    nn.Conv2d(levels * f, f, 1),
                    nn.BatchNorm2d(f),
                    nn.GELU(),
                    nn.Conv2d(f, levels, 3, padding=1),
                )
                for key in keys
            }
        )
        if design.variant == "vitB":  # nothing reads them
            self.q_fuse = nn.ModuleDict({key: nn.Conv2d(levels * f, f, 1) for key in keys})
            self.classify_route_1, self.classify_route_2 = (nn.Conv2d(f // 4 * 2, len(keys), 1) for _ in range(2))

    def forward(self, images: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the features of the tasks wanted, [B, F, 4h, 4w] for h x w patches."""
        by_level = []
        for level, map_ in enumerate(self._maps(images)):
            shared = self.fea_fuse[level](map_)
            by_level.append(self.MLoRE_2[level](self.MLoRE_1[level](dict.fromkeys(wanted, shared))))
        features = {}
        for key in wanted:
            maps = [level[key] for level in by_level]
            mask = self.task_mask[key](torch.cat(maps, dim=1)).softmax(1)  # [B, levels, h, w]
            # sum_l mask_l x_l
            features[key] = enlarged((mask[:, :, None] * torch.stack(maps, dim=1)).sum(1))
        return features

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps after the blocks that are read, [B, C, h, w]; the last is normed."""
        maps = []
        with attributed_to("encoder"):
            tokens = self.embed(images)
            for number, block in enumerate(self.blocks.children(), 1):
                tokens = block(tokens)
                if number in self.taps:
                    maps.append(self.as_map(self.norm(tokens) if number == self.taps[-1] else tokens))
        return maps

    def mixtures(self) -> list[Mixture]:
        """Return all mixtures."""
        return [mixture for mixture in (*self.MLoRE_1, *self.MLoRE_2) if isinstance(mixture, Mixture)]


class MLoRENet(MultiTaskModel):
    """Tasks share experts of low rank, each with a router of its own, on the maps of a ViT (paper, section 3).

    Its state-dict keys are the reference's.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: The widths.
    """

    unused: tuple[str, ...] = ("backbone.q_fuse.", "backbone.classify_route_", "aux_heads.")
    named: ClassVar[tuple[str, ...]] = ("conv1", "conv2", "conv3", "bn", "bn_all", "router_1")
    """Modules of a mixture that every task has for itself."""

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: Design) -> None:
        super().__init__(problem)
        outputs = {key_of(task.name): task.channels for task in in_order(problem, ORDER)}
        f = design.widths.final_embed_dim
        self.notes = encoder.notes
        self.backbone = ExpertTokens(encoder, tuple(outputs), design)
        self.heads = nn.ModuleDict({key: ConvHead(f, out) for key, out in outputs.items()})
        for head in self.heads.values():
            assert isinstance(head, ConvHead)
            assert head.linear_pred.bias is not None
            nn.init.normal_(head.linear_pred.bias, std=0.02)
        if design.variant == "vitB":
            self.aux_heads = nn.ModuleDict({key: ConvHead(f, out) for key, out in outputs.items()})

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; what the experts compute for one task depends on no other."""
        names = tasks or self.problem.names
        features = self.backbone(images, [key_of(name) for name in names])
        size = self.problem.input_size
        return {name: self.heads[key_of(name)](features[key_of(name)], size) for name in names}

    def imbalance(self) -> Tensor:
        """Return the imbalance of the experts in the last forward pass of training, summed over all mixtures.

        Raises:
            MethodError: there was none since the last call, which forgets it.
        """
        routes = [mixture.routes for mixture in self.backbone.mixtures()]
        for mixture in self.backbone.mixtures():
            mixture.routes = None  # it holds on to the graph of the pass
        if any(each is None for each in routes):
            raise MethodError("the imbalance of experts is that of a forward pass in training, and there was none")
        return torch.stack([imbalance(each) for each in routes if each is not None]).sum()

    def merge(self) -> None:
        """Make the kernels for inference, which the first forward pass would make else."""
        for mixture in self.backbone.mixtures():
            mixture.merge()

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, what all tasks share of the mixtures, and the layers of every task."""
        backbone, mixtures = self.backbone, self.backbone.mixtures()
        shared = {f"{kind} {at}": getattr(m, kind) for at, m in enumerate(mixtures) for kind in _SHARED}
        parts = {"encoder": backbone.encoder_part(), "reduction": backbone.fea_fuse, "experts": together(shared)}
        dead = {name: getattr(backbone, name) for name in _DEAD if hasattr(backbone, name)}
        if dead:
            parts["unused"] = together(dead | {"aux_heads": self.aux_heads})
        for name in self.problem.names:
            key = key_of(name)
            own = {f"{kind} {at}": getattr(m, kind)[key] for at, m in enumerate(mixtures) for kind in self.named}
            parts[f"mixture/{name}"] = together(own)
            parts[f"mask/{name}"] = backbone.task_mask[key]
            parts[f"head/{name}"] = self.heads[key]
        return parts


_SHARED = ("lora_list_1", "share_conv")
_DEAD = ("q_fuse", "classify_route_1", "classify_route_2")
