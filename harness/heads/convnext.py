"""The convolutional head of the MultiMAE line (Bachmann et al., ECCV 2022), used by the sharing method."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.problem import TaskSpec

CELLS = 4
"""Cells per side that a token is unfolded into, unless the encoder says otherwise."""

_WIDE_TASKS = ("semseg", "saliency", "boundary")

_HIDDEN_VALUES = 3 * 2**17
"""Values of the hidden layer that inference on a CPU computes at a time: 1.5 MB stay in a core's cache, and are not
fresh memory at every call as 49 MB are (the wide head of ViT-B at 448x576). Half and double are as fast within 4 %."""

_LEAST_CHANNELS_LAST = 8
"""Channels of a prediction from which on it is resized faster with channels last in memory."""

_TYPICAL_DEPTH_M = 2.5
"""Metres: about the mean depth of NYUD-v2."""


class ConvNeXtBlock(nn.Module):
    """A ConvNeXt block (Liu et al., CVPR 2022) without layer scale and drop path.

    Args:
        channels: Width of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.reduce = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, W, C] to [B, H, W, C].

        Channels stay last in memory: the depthwise convolution is many times faster so, most of all its gradient.
        """
        y: Tensor = self.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # 7 x 7 per channel, [B, H, W, C]
        # x + W2 gelu(W1 norm(y)): an inverted bottleneck on every position
        y = self.reduce(F.gelu(self.expand(self.norm(y))))
        return x + y

    def add_to(self, x: Tensor) -> None:
        """Compute the same in the place of a contiguous map ``x`` [B, H, W, C], without gradient.

        The two layers take some positions at a time, and the second product adds onto the map itself.
        """
        channels = x.shape[-1]
        y = self.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(-1, channels)  # [B H W, C]
        chunk = max(_HIDDEN_VALUES // (4 * channels), 1)
        owned = y.new_empty(min(chunk, len(y)), 4 * channels)
        for some, target in zip(torch.split(y, chunk), torch.split(x.view(-1, channels), chunk), strict=True):  # [R, C]
            hidden = owned[: len(some)]  # [R, 4 C], the last chunk may be shorter
            torch.addmm(self.expand.bias, self.norm(some), self.expand.weight.t(), out=hidden)
            target += self.reduce.bias
            # x += W2 gelu(W1 norm(y) + b1): the sum is part of the product
            torch.addmm(target, torch.ops.aten.gelu_(hidden), self.reduce.weight.t(), out=target)


class ConvNeXtHead(nn.Module):
    """Token map to a prediction at input size.

    Tokens are projected to ``width`` channels, each token is unfolded into cells x cells cells of width / cells^2
    channels, two ConvNeXt blocks mix them, and a 1 x 1 convolution predicts; the result is resized bilinearly.

    Args:
        in_channels: Channels of the encoder's map.
        out_channels: Channels of the prediction.
        width: Channels of the projection, a multiple of cells^2.
        output_size: (height, width) of the prediction.
        depth: Number of ConvNeXt blocks.
        cells: Cells per side that a token is unfolded into.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        output_size: tuple[int, int],
        depth: int = 2,
        cells: int = CELLS,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.cells = cells
        channels = width // cells**2
        self.project = nn.Linear(in_channels, width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(channels) for _ in range(depth)))
        self.predict = nn.Conv2d(channels, out_channels, 1)

    def forward(self, features: Tensor, detail: Tensor | None = None) -> Tensor:
        """Map encoder features [B, C, h, w] to a raw prediction [B, out, H, W].

        Args:
            features: The encoder's map.
            detail: Added to the unfolded map before the first block, [B, cells h, cells w, width / cells^2]; None for
                nothing.
        """
        tokens = self.project(features.permute(0, 2, 3, 1))  # [B, h, w, width]
        x = unfold_tokens(tokens, self.cells)  # [B, cells h, cells w, width / cells^2]
        if _in_place(x):
            return self._infer(x if detail is None else x.add_(detail))
        x = self.blocks(x if detail is None else x + detail)
        prediction = self.predict(x.permute(0, 3, 1, 2))  # [B, out, cells h, cells w]
        return F.interpolate(prediction, size=self.output_size, mode="bilinear", align_corners=False)

    def _infer(self, x: Tensor) -> Tensor:
        """Predict from the unfolded map, which is overwritten; equal to the plain computation up to rounding."""
        for block in self.blocks:
            assert isinstance(block, ConvNeXtBlock)
            block.add_to(x)
        # A 1 x 1 convolution is a product over positions; its result has channels last.
        prediction = F.linear(x, self.predict.weight.flatten(1), self.predict.bias).permute(0, 3, 1, 2)
        if prediction.shape[1] < _LEAST_CHANNELS_LAST:
            prediction = prediction.contiguous()
        return F.interpolate(prediction, size=self.output_size, mode="bilinear", align_corners=False)


def _in_place(map_: Tensor) -> bool:
    """Return whether a head may overwrite its map: in inference on a CPU, as 32-bit numbers.

    Compilers and exporters get the plain operators, and so do GPUs, which gain nothing by small products.
    """
    return (
        map_.device.type == "cpu"
        and map_.dtype is torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and map_.is_contiguous()
    )


def unfold_tokens(tokens: Tensor, cells: int = CELLS) -> Tensor:
    """Spread tokens over space, [B, h, w, n^2 C] to [B, n h, n w, C] for n cells per side.

    The channels are ordered (cell row, cell column, C).
    """
    b, h, w, width = tokens.shape
    spread = tokens.view(b, h, w, cells, cells, width // cells**2)
    spread = spread.permute(0, 1, 3, 2, 4, 5)  # [B, h, n, w, n, C]: cells inside tokens
    return spread.reshape(b, h * cells, w * cells, -1)


def head_width(task: str, encoder_channels: int, cells: int = CELLS) -> int:
    """Return the width of the head's projection.

    Its map has a quarter of the encoder's channels for wide tasks and an eighth for the others. At ViT-B, where a
    token becomes 4 x 4 cells, that is the published 3072 (segmentation, saliency, edges) and 1536 (parts, normals).
    """
    return encoder_channels // (4 if task in _WIDE_TASKS else 8) * cells**2


def task_head(task: TaskSpec, encoder_channels: int, output_size: tuple[int, int], cells: int = CELLS) -> ConvNeXtHead:
    """Return the head of a task on an encoder.

    Depth starts from a typical distance instead of 0 m: a bias moves by one learning rate per step at most, and would
    need most of a short training to get there.

    Args:
        task: What to predict.
        encoder_channels: Channels of the encoder's map.
        output_size: (height, width) of the prediction.
        cells: `harness.backbones.Encoder.cells` of the encoder.
    """
    width = head_width(task.name, encoder_channels, cells)
    head = ConvNeXtHead(encoder_channels, task.channels, width, output_size, cells=cells)
    if task.name == "depth":
        assert head.predict.bias is not None
        nn.init.constant_(head.predict.bias, _TYPICAL_DEPTH_M)
    return head
