"""Encoders against the figures and the networks of the reference code."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from harness.backbones import NAMES, Encoder, build_backbone
from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.resnet import ResNetEncoder
from harness.counting import count_macs
from harness.heads.convnext import task_head
from harness.problem import TaskSpec

from checkpoint_styles import scrambled  # isort: skip

ANY_SIZE = ("resnet-micro", "resnet18", "resnet50", "hrnet-micro", "hrnet18-small", "swin-micro", "swin-t")
TRAINING_SIZES = [(448, 576), (480, 640), (512, 512)]


def on_meta(name: str, size: tuple[int, int]) -> Encoder:
    """Return an encoder without values, in which shapes and MACs come at no cost."""
    with torch.device("meta"):
        return build_backbone(name, size).eval()


def encoder_macs(name: str, size: tuple[int, int]) -> int:
    encoder = on_meta(name, size)
    with torch.inference_mode():
        count = count_macs(lambda: encoder(torch.empty(1, 3, *size, device="meta")))
    assert not count.unsupported
    return count.macs


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_176_512),
        ("resnet50", 23_508_032),
        ("hrnet18-small", 3_860_720),
        ("vit-b16", 86_422_272),
        ("vit-l16", 304_133_120),
        ("swin-t", 27_520_698),
        ("swin-s", 48_838_602),
        ("swin-b", 86_745_016),
        ("swin-l", 194_998_164),
    ],
)
def test_parameters_are_the_references(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in on_meta(name, (448, 576)).parameters()) == parameters


def deeplab_macs(channels: int, outputs: int, cells: int) -> int:
    """ASPP of five branches of 256, their projection, a 3x3 convolution and the prediction."""
    pooling = channels * 256
    return cells * (channels * 256 * (1 + 3 * 9) + 5 * 256 * 256 + 9 * 256 * 256 + 256 * outputs) + pooling


def high_resolution_head_macs(outputs: int, cells: int) -> int:
    return cells * (270 * 270 + 270 * outputs)


@pytest.mark.parametrize(
    ("name", "size", "heads", "giga_macs"),
    [
        ("hrnet18-small", (480, 640), high_resolution_head_macs(40, 120 * 160), 11.4),
        ("hrnet18-small", (512, 512), high_resolution_head_macs(21, 128 * 128), 9.6),
        ("hrnet18-small", (480, 640), sum(high_resolution_head_macs(n, 120 * 160) for n in (40, 1)), 12.8),
        ("hrnet18-small", (448, 576), sum(high_resolution_head_macs(n, 112 * 144) for n in (40, 1, 3, 1)), 13.1),
        ("hrnet18-small", (512, 512), sum(high_resolution_head_macs(n, 128 * 128) for n in (21, 7, 1, 3, 1)), 14.5),
        ("resnet50", (480, 640), sum(deeplab_macs(2048, n, 60 * 80) for n in (40, 1)), 266.6),
        ("resnet18", (512, 512), sum(deeplab_macs(512, n, 64 * 64) for n in (21, 7, 1, 3, 1)), 142.1),
        ("vit-b16", (448, 576), 0, 105.1),
        ("vit-b16", (512, 512), 0, 107.0),
        ("vit-l16", (448, 576), 0, 355.5),
        ("vit-l16", (512, 512), 0, 362.0),
    ],
)
def test_macs_are_the_references(name: str, size: tuple[int, int], heads: int, giga_macs: float) -> None:
    """Rows are single-task and multi-task baselines of the reference code, measured; heads are written out."""
    assert (encoder_macs(name, size) + heads) / 1e9 == pytest.approx(giga_macs, rel=0.005)


@pytest.mark.parametrize("size", TRAINING_SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_maps_have_the_stated_shape_at_the_sizes_of_the_field(name: str, size: tuple[int, int]) -> None:
    encoder = on_meta(name, size)
    features = encoder(torch.empty(2, 3, *size, device="meta"))
    assert features.shape == (2, encoder.channels, size[0] // encoder.stride, size[1] // encoder.stride)


@pytest.mark.parametrize("size", [(33, 47), (64, 96), (70, 65)])
@pytest.mark.parametrize("name", ANY_SIZE)
def test_encoders_other_than_vits_take_any_size(name: str, size: tuple[int, int]) -> None:
    encoder = build_backbone(name, size).eval()
    with torch.inference_mode():
        features = encoder(torch.randn(1, 3, *size))
    height, width = (-(-side // encoder.stride) for side in size)
    assert features.shape == (1, encoder.channels, height, width)
    assert features.isfinite().all()


def test_resnet50_is_torchvisions_with_two_dilated_stages() -> None:
    theirs = scrambled(torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]))
    ours = ResNetEncoder("resnet50").eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if key[:3] != "fc."})
    trunk = nn.Sequential(*list(theirs.children())[:-2])
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), trunk(images))


@pytest.mark.parametrize("name", ["resnet-micro", "resnet18", "resnet50"])
def test_stages_make_up_a_resnet(name: str) -> None:
    encoder = ResNetEncoder(name).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        maps = [encoder.stem(images)]
        for stage in encoder.stages:
            maps.append(stage(maps[-1]))
        assert torch.equal(maps[-1], encoder(images))
    assert [map_.shape[1] for map_ in maps] == [64, *encoder.stage_channels]
    assert [64 // map_.shape[2] for map_ in maps] == [4, 4, 8, 8, 8]


def test_hrnet_is_timms_with_bilinear_fusion() -> None:
    ours = HRNetEncoder("hrnet18-small")
    scrambled(ours)
    theirs = timm.create_model("hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        nearest = theirs.eval()(images)
        for layer in theirs.modules():
            if isinstance(layer, nn.Upsample):
                layer.mode, layer.align_corners = "bilinear", False
        scales = ours.scales(images)
        for map_, expected in zip(scales, theirs(images), strict=True):
            torch.testing.assert_close(map_, expected)
    assert not torch.allclose(scales[0], nearest[0], atol=0.01), "the way of enlarging matters"
    assert [tuple(map_.shape[1:]) for map_ in scales] == [(18, 16, 24), (36, 8, 12), (72, 4, 6), (144, 2, 3)]
    assert ours.scale_channels == (18, 36, 72, 144)


def test_hrnet_concatenates_its_scales_finest_first() -> None:
    encoder = HRNetEncoder("hrnet18-small").eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        features, scales = encoder(images), encoder.scales(images)
    assert torch.equal(features[:, :18], scales[0])
    coarsest = nn.functional.interpolate(scales[3], size=(16, 24), mode="bilinear", align_corners=False)
    assert torch.equal(features[:, -144:], coarsest)


def test_hrnets_batch_norms_have_the_momentum_of_the_reference() -> None:
    norms = [layer for layer in on_meta("hrnet18-small", (64, 64)).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.momentum for layer in norms} == {0.01}


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("vit-micro", 4),
        ("vit-b16", 4),
        ("resnet-micro", 2),
        ("resnet18", 2),
        ("resnet50", 2),
        ("hrnet-micro", 1),
        ("hrnet18-small", 1),
        ("swin-micro", 2),
        ("swin-s", 2),
    ],
)
def test_heads_work_at_a_quarter_of_the_input_or_finer(name: str, cells: int) -> None:
    encoder = on_meta(name, (64, 96))
    assert encoder.cells == cells
    with torch.device("meta"):
        head = task_head(TaskSpec("semseg", 5), encoder.channels, (64, 96), encoder.cells)
    seen: list[tuple[int, ...]] = []
    head.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    prediction = head(encoder(torch.empty(1, 3, 64, 96, device="meta")))
    side = 4 if name != "vit-micro" else 2
    assert seen == [(1, 64 // side, 96 // side, encoder.channels // 4)]
    assert prediction.shape == (1, 5, 64, 96)
