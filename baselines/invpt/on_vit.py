"""InvPT on a plain vision transformer, as published."""

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder, set_drop_path, tapped
from harness.baselines.invpt.decoder import stage_widths
from harness.baselines.invpt.designs import Design
from harness.baselines.invpt.model import InvPTModel
from harness.baselines.invpt.pyramid import stage_sizes
from harness.counting import attributed_to
from harness.problem import Problem


class InvPTOnViT(InvPTModel):
    """The published network: a ViT, read after two of its blocks and at its end.

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
        sizes = stage_sizes((2 * rows, 2 * columns))
        c, (first, second, third) = encoder.channels, stage_widths(design)
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
            fine, middle, last = tapped(self.backbone, images, self.taps)
        return fine, middle, F.interpolate(last, size=self.size, mode="bilinear", align_corners=False)
