"""Network of SAK at inference: the student, and a head per task that joins its four levels."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import together
from harness.baselines.common.tasks import in_order, key_of
from harness.baselines.sak.student import Design, Student, init_linear
from harness.method import MultiTaskModel, Predictions
from harness.problem import Problem

ORDER = ("semseg", "parts", "normals", "boundary", "saliency", "depth")
"""Tasks in the order of the reference: semseg, normals, boundary, depth for NYUD-v2; for PASCAL-Context semseg, parts,
normals, boundary, saliency."""

_LEVELS = 4


class FusingHead(nn.Module):
    """Four levels, reduced to a quarter of the channels each, enlarged, fused by a convolution, and predicted from.

    Args:
        channels: Channels of a token.
        outputs: Channels of the prediction.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        quarter = channels // _LEVELS
        self.linears = nn.ModuleList(nn.Linear(channels, quarter) for _ in range(_LEVELS))
        for layer in self.linears:
            assert isinstance(layer, nn.Linear)
            init_linear(layer)
        joined = quarter * _LEVELS
        self.linear_fuse = nn.Sequential(nn.Conv2d(joined, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.GELU())
        self.last_conv = nn.Conv2d(channels, outputs, 1)

    def forward(self, levels: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Map tokens [B, h w, C] of four levels on a grid (h, w) to a raw prediction [B, outputs, *size]."""
        quarter = (size[0] // 4, size[1] // 4)
        maps = [
            layer(tokens).transpose(1, 2).unflatten(2, grid) for layer, tokens in zip(self.linears, levels, strict=True)
        ]
        # All levels have one size: enlarged together, [B, C, H/4, W/4]
        joined = F.interpolate(torch.cat(maps, dim=1), size=quarter, mode="bilinear", align_corners=False)
        prediction = self.last_conv(self.linear_fuse(joined))
        return F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)


class SAKNet(MultiTaskModel):
    """A ViT and paths of adapters that hold what teachers know; every task mixes them, and decodes (section 3).

    Its state-dict keys are the reference's. No teacher is part of it.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: The shape of the student.
    """

    unused: tuple[str, ...] = ("backbone.ts_aligners.",)

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: Design) -> None:
        super().__init__(problem)
        outputs = {key_of(task.name): task.channels for task in in_order(problem, ORDER)}
        self.notes = encoder.notes
        self.backbone = Student(encoder, tuple(outputs), design)
        self.heads = nn.ModuleDict({key: FusingHead(encoder.channels, out) for key, out in outputs.items()})

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; routers and heads are run for the tasks asked for alone."""
        names = tasks or self.problem.names
        features = self.backbone(images, [key_of(name) for name in names])
        grid, size = self.backbone.grid, self.problem.input_size
        return {name: self.heads[key_of(name)](features[key_of(name)], grid, size) for name in names}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the ViT, the path of every teacher, and the routers and the head of every task."""
        backbone = self.backbone
        vit = backbone.vit
        assert vit.cls_token is not None
        assert vit.pos_embed is not None
        tokens = {"cls_token": vit.cls_token, "pos_embed": vit.pos_embed}
        parts = {"encoder": together({"patch_embed": vit.patch_embed, "blocks": nn.ModuleList(vit.blocks)}, tokens)}
        ends = {"norm": backbone.out_norms, "aligner": getattr(backbone, "ts_aligners", nn.ModuleDict())}
        for teacher, adapters in backbone.tsap.items():
            own = {
                f"{kind} {at}": layer
                for kind, layers in ends.items()
                for at, layer in layers.items()
                if at.partition("_")[2] == teacher
            }
            parts[f"path of {teacher}"] = together({"adapters": adapters} | own)
        for name in self.problem.names:
            key = key_of(name)
            routers = {at: layer for at, layer in backbone.mor.items() if at.partition("_")[2] == key}
            parts[f"router/{name}"] = together(routers)
            parts[f"head/{name}"] = self.heads[key]
        return parts
