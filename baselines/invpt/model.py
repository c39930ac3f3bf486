"""The network: an encoder, the decoder, and a linear prediction per task."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder, set_drop_path, tapped
from harness.baselines.invpt.decoder import Decoder, stage_widths
from harness.baselines.invpt.designs import ViTDesign
from harness.baselines.invpt.pyramid import stage_sizes
from harness.baselines.reference import in_order, key_of
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
        decoder: The decoder, for the tasks of the problem.
        channels: Width of the decoder's features.
    """

    unused: ClassVar[tuple[str, ...]] = (
        f"{_PYRAMID}norm_mt.",
        f"{_PYRAMID}redu_chan.0.",
        f"{_PYRAMID}invpt_stages.0.blocks.0.attn.fuse_attn.",
        "multi_task_decoder.scale_embed.2.",
    )

    def __init__(self, problem: Problem, backbone: nn.Module, decoder: Decoder, channels: int) -> None:
        super().__init__(problem)
        self.backbone = backbone
        self.multi_task_decoder = decoder
        self.heads = nn.ModuleDict(
            {key_of(task.name): LinearHead(channels, task.channels) for task in in_order(problem, ORDER)}
        )

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
        decoded, early = self.multi_task_decoder(*self.features(images), [key_of(name) for name in names])
        return {name: self._resize(self.heads[key_of(name)](decoded[key_of(name)])) for name in names}, early

    def _resize(self, map_: Tensor) -> Tensor:
        return F.interpolate(map_, size=self.problem.input_size, mode="bilinear", align_corners=False)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoder, joint modules of the decoder, and what each task has of its own.

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
    """The published network: a ViT, read after three blocks and at its end.

    Features after the third of the blocks have a convolution in published checkpoints, which serves nothing; they are
    not read. The last map is halved, rounded up; the second stage has the size of the encoder's map.

    Args:
        problem: The tasks and the input size.
        encoder: The encoder.
        design: Where it is read, and the widths of the decoder.
    """

    backbone: VisionTransformer

    def __init__(self, problem: Problem, encoder: ViTEncoder, design: ViTDesign) -> None:
        rows, columns = encoder.grid
        sizes = stage_sizes((2 * rows, 2 * columns))
        c = encoder.channels
        widths = stage_widths(design.channels, design.prediction_channels)
        scale_embed = (
            nn.ConvTranspose2d(c, widths[2], 3, stride=2, padding=1, output_padding=1),
            nn.Conv2d(c, widths[1], 3, padding=1),
            nn.Conv2d(c, widths[0], 3, padding=1),
        )
        outputs = {key_of(task.name): task.channels for task in in_order(problem, ORDER)}
        decoder = Decoder(outputs, c, design.channels, design.prediction_channels, scale_embed, sizes)
        super().__init__(problem, encoder.vit, decoder, widths[0])
        self.notes = encoder.notes
        self.taps = design.taps
        self.size = sizes[0]
        set_drop_path(encoder.vit, design.drop_path)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the encoder after two of its blocks and at its end."""
        with attributed_to("encoder"):  # it is not called as a module
            fine, middle, last = tapped(self.backbone, images, self.taps)
        return fine, middle, F.interpolate(last, size=self.size, mode="bilinear", align_corners=False)
