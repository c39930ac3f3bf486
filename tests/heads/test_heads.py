"""Encoders and heads."""

import pytest
import torch
from torch import nn

from harness.backbones import NAMES, build_backbone
from harness.errors import UsageError
from harness.heads.convnext import ConvNeXtHead, head_width, task_head, unfold_tokens
from harness.problem import TaskSpec


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("task", "classes", "parameters"),
    [
        ("semseg", 21, 2_978_133),
        ("semseg", 40, 2_981_800),
        ("saliency", None, 2_974_466),
        ("boundary", None, 2_974_273),
    ],
)
def test_wide_heads_have_the_published_size(task: str, classes: int | None, parameters: int) -> None:
    assert count(task_head(TaskSpec(task, classes), 768, (32, 32))) == parameters


@pytest.mark.parametrize(("task", "classes", "parameters"), [("parts", 7, 1_340_263), ("normals", None, 1_339_875)])
def test_narrow_heads_have_the_published_size(task: str, classes: int | None, parameters: int) -> None:
    assert head_width(task, 768) == 1536
    assert count(task_head(TaskSpec(task, classes), 768, (32, 32))) == parameters


def test_tokens_unfold_into_cells_row_by_row() -> None:
    tokens = torch.arange(2 * 3 * 16 * 5).view(1, 2, 3, 80)
    pixels = unfold_tokens(tokens)
    assert pixels.shape == (1, 8, 12, 5)
    for row in range(8):
        for column in range(12):
            cell = (row % 4) * 4 + column % 4
            expected = tokens[0, row // 4, column // 4, 5 * cell : 5 * cell + 5]
            assert torch.equal(pixels[0, row, column], expected)


def test_a_head_predicts_at_the_size_asked_for() -> None:
    head = ConvNeXtHead(8, 3, width=64, output_size=(50, 70))
    assert head(torch.randn(2, 8, 4, 5)).shape == (2, 3, 50, 70)


@pytest.mark.parametrize(
    ("name", "parameters"), [("vit-t16", 5_524_416), ("vit-s16", 21_665_664), ("vit-b16", 85_798_656)]
)
def test_vits_have_the_published_size_at_224(name: str, parameters: int) -> None:
    encoder = build_backbone(name, (224, 224))
    assert count(encoder) == parameters


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("vit-b16", "vit-l16")])
def test_features_have_the_stated_channels_and_stride(name: str) -> None:
    encoder = build_backbone(name, (32, 48)).eval()
    with torch.inference_mode():
        features = encoder(torch.randn(1, 3, 32, 48))
    assert features.shape == (1, encoder.channels, 32 // encoder.stride, 48 // encoder.stride)


def test_feature_maps_keep_the_image_upright() -> None:
    """A change in the upper left of the image moves the upper left token most."""
    torch.manual_seed(0)
    encoder = build_backbone("vit-t16", (64, 96)).eval()
    image = torch.randn(1, 3, 64, 96)
    changed = image.clone()
    changed[..., :16, 80:] += 3
    with torch.inference_mode():
        moved = (encoder(changed) - encoder(image)).norm(dim=1)[0]
    assert divmod(int(moved.argmax()), moved.shape[1]) == (0, 5)


def test_bad_sizes_and_missing_weights_are_usage_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no multiple of the patch size 16"):
        build_backbone("vit-t16", (100, 96))
    for module in ("checkpoints", "vit"):  # as for an encoder that nobody pretrained
        monkeypatch.setattr(f"harness.backbones.{module}.OWN", frozenset())
    with pytest.raises(UsageError, match="no published weights"):
        build_backbone("vit-micro", (32, 32), weights="pretrained")


def test_a_detail_of_the_cells_is_added_before_the_first_block() -> None:
    torch.manual_seed(0)
    head = task_head(TaskSpec("boundary"), 32, (16, 24)).eval()
    features, detail = torch.randn(2, 32, 4, 6), torch.randn(2, 16, 24, 8)
    with torch.inference_mode():
        cells = unfold_tokens(head.project(features.permute(0, 2, 3, 1)))
        expected = head.predict(head.blocks(cells + detail).permute(0, 3, 1, 2))  # the output has the cells' size
        torch.testing.assert_close(head(features, detail), expected)
        assert torch.equal(head(features), head(features, torch.zeros_like(detail)))
