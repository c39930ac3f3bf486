"""Which head a baseline puts on an encoder."""

from torch import nn

from harness.backbones import Encoder
from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.reference import channels_of
from harness.heads.convnext import task_head
from harness.heads.deeplab import DeepLabHead
from harness.heads.high_resolution import HighResolutionHead
from harness.problem import TaskSpec


def head_for(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a task: features of ``encoder`` to a raw map [B, C, H, W].

    Convolutional encoders get the head of the code base that the field takes their baselines from,
    Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021). It has none for transformers: they get the head of
    the sharing method, so that the two differ in nothing but what is shared.

    Args:
        task: What to predict.
        encoder: What the head reads.
        output_size: (height, width) of the prediction.
    """
    match encoder:
        case HRNetEncoder():
            return HighResolutionHead(encoder.channels, channels_of(task), output_size)
        case ResNetEncoder():
            return DeepLabHead(encoder.channels, channels_of(task), output_size)
        case _:
            return task_head(task, encoder.channels, output_size, encoder.cells)
