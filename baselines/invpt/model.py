"""Networks of InvPT: an encoder (ViT as published, or Swin), the decoder, and a linear prediction per task."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.swin import SwinEncoder
from harness.backbones.vit import ViTEncoder, set_drop_path, tapped
from harness.baselines.common.tasks import in_order, key_of
from harness.baselines.invpt.decoder import Decoder, Design, stage_widths
from harness.baselines.invpt.pyramid import Size, stage_sizes
from harness.counting import attributed_to
from harness.method import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem

ORDER = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
"""Tasks in the order of the reference, which joint norms and attention scores follow."""

_PYRAMID = "multi_task_decoder.invpt."


class InvPTModel(MultiTaskModel):
    """An encoder whose features at three resolutions the decoder reads.

    Its state-dict keys are the reference's.

    Args:
        problem: The tasks and the input size.
        backbone: The encoder's network.
        encoder_channels: Channels of its last map.
        design: The widths of the decoder.
        scale_embed: See `Decoder`.
        sizes: Heights and widths of the decoder's stages.
    """

    unused: tuple[str, ...] = (
        f"{_PYRAMID}norm_mt.",
        f"{_PYRAMID}redu_chan.0.",
        f"{_PYRAMID}invpt_stages.0.blocks.0.attn.fuse_attn.",
        "multi_task_decoder.scale_embed.2.",
    )

    def __init__(
        self,
        problem: Problem,
        backbone: nn.Module,
        encoder_channels: int,
        design: Design,
        scale_embed: Sequence[nn.Module],
        sizes: Sequence[Size],
    ) -> None:
        super().__init__(problem)
        outputs = {key_of(task.name): task.channels for task in in_order(problem, ORDER)}
        wide = stage_widths(design)[0]
        self.backbone = backbone
        self.multi_task_decoder = Decoder(outputs, encoder_channels, design, scale_embed, sizes)
        self.heads = nn.ModuleDict({key: LinearHead(wide, channels) for key, channels in outputs.items()})

    @abstractmethod
    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the decoder reads; see `Decoder.forward`."""

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; what is computed for one task alone is computed for the tasks asked for."""
        return self._predict(images, tasks or self.problem.names)[0]

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict, before the pyramid as well as after it."""
        names = tasks or self.problem.names
        predictions, early = self._predict(images, names)
        return TrainingOutput(predictions, ({name: self._resize(early[key_of(name)]) for name in names},))

    def _predict(self, images: Tensor, names: Sequence[str]) -> tuple[Predictions, dict[str, Tensor]]:
        # decoded: [B, wide, H/4, W/4] of the tasks wanted; early: [B, classes, H/32, W/32] of all
        decoded, early = self.multi_task_decoder(*self.features(images), [key_of(name) for name in names])
        return {name: self._resize(self.heads[key_of(name)](decoded[key_of(name)])) for name in names}, early

    def _resize(self, map_: Tensor) -> Tensor:
        return F.interpolate(map_, size=self.problem.input_size, mode="bilinear", align_corners=False)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoder, joint modules of the decoder, and the modules of each task.

        The first convolutions of a block, per task, count for the block; they are less than a thousandth.
        """
        decoder, pyramid = self.multi_task_decoder, self.multi_task_decoder.invpt
        parts: dict[str, nn.Module] = {
            "encoder": self.backbone,
            "skips": decoder.scale_embed,
            "norms": pyramid.norm_mts,
            "unused norm": pyramid.norm_mt,
        }
        for index, stage in enumerate(pyramid.stages):
            parts[f"attention {index + 1}"] = stage.blocks
        for index, task in enumerate(in_order(self.problem, ORDER)):
            name, key = task.name, key_of(task.name)
            parts |= {
                f"preliminary/{name}": decoder.preliminary_decoder[key],
                f"intermediate/{name}": decoder.intermediate_head[key],
                f"mix/{name}": pyramid.mix_proj[key],
                **{f"enlarge {s}/{name}": pyramid.stages[s - 1].patch_embed[index] for s in (2, 3)},
                **{f"reduce {s}/{name}": pyramid.reductions(index)[s - 1] for s in (1, 2, 3)},
                f"projection/{name}": pyramid.mt_proj[key],
                f"head/{name}": self.heads[key],
            }
        return parts


class LinearHead(nn.Module):
    """A 1 x 1 convolution.

    Args:
        channels: Channels of the features.
        outputs: Channels of the prediction.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear_pred = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, h, w] to [B, outputs, h, w]."""
        y: Tensor = self.linear_pred(x)
        return y


class InvPTOnViT(InvPTModel):
    """The published network: a ViT, read after two of its blocks and at its end (paper, section 3.1).

    The second stage has the size of the encoder's map, the first half of it, rounded up. A third convolution in
    ``scale_embed``, on features after a third block, is in published checkpoints and serves nothing.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: Where it is read, and the widths of the decoder.
    """

    backbone: VisionTransformer

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: Design) -> None:
        rows, columns = encoder.grid
        sizes = stage_sizes((2 * rows, 2 * columns))  # strides 32, 16 and 8 for patches of 16 pixels
        c, (first, second, third) = encoder.channels, stage_widths(design)
        # To the third stage at twice the size, to the second at the same, and a dead one that checkpoints hold
        scale_embed = (
            nn.ConvTranspose2d(c, third, 3, stride=2, padding=1, output_padding=1),
            nn.Conv2d(c, second, 3, padding=1),
            nn.Conv2d(c, first, 3, padding=1),
        )
        super().__init__(problem, encoder.vit, c, design, scale_embed, sizes)
        self.notes = encoder.notes
        self.taps = design.taps
        self.size = sizes[0]
        set_drop_path(encoder.vit, design.drop_path)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the encoder after two of its blocks and at its end."""
        with attributed_to("encoder"):  # it is not called as a module
            fine, middle, last = tapped(self.backbone, images, self.taps)  # each [B, C, h, w]
        return fine, middle, F.interpolate(last, size=self.size, mode="bilinear", align_corners=False)


_READ = (1, 2, 3)
"""Levels of the encoder at strides 8, 16 and 32."""


class InvPTOnSwin(InvPTModel):
    """A variant of ours: a Swin, whose levels at strides 32, 16 and 8 have the sizes of the three stages.

    The published decoder enlarges and halves maps of one size; here convolutions bring every level to the width of its
    stage, and none is resized. All other layers, keys and shapes are those on a ViT.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: The widths of the decoder.
    """

    backbone: SwinEncoder
    unused: tuple[str, ...] = (*InvPTModel.unused, "backbone.norm0.")

    def __init__(self, problem: Problem, encoder: SwinEncoder, design: Design) -> None:
        height, width = problem.input_size
        fine, middle, last = (encoder.level_channels[level] for level in _READ)
        _, second, third = stage_widths(design)
        scale_embed = (nn.Conv2d(fine, third, 3, padding=1), nn.Conv2d(middle, second, 3, padding=1))
        super().__init__(problem, encoder, last, design, scale_embed, stage_sizes((-(-height // 8), -(-width // 8))))
        encoder.set_drop_path(design.drop_path)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the encoder at strides 8, 16 and 32."""
        with attributed_to("encoder"):  # it is not called as a module
            fine, middle, last = self.backbone.levels(images, _READ)  # [B, C_i, H/s, W/s] at strides 8, 16, 32
        return fine, middle, last
