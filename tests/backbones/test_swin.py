"""Swin encoders against torchvision's network, which agrees with the authors', and against the formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.backbones import build_backbone
from harness.backbones.shapes import SWINS
from harness.backbones.swin import SwinEncoder
from harness.backbones.swin_layers import PatchMerging, SwinBlock
from harness.backbones.windows import WindowAttention, Windows, offsets
from harness.counting import count_macs

from checkpoint_styles import scrambled, swin_of_torchvision, torchvision_swin  # isort: skip


@pytest.fixture(scope="module")
def pair() -> tuple[SwinEncoder, nn.Module]:
    """Swin-T and torchvision's with the same weights."""
    theirs = torchvision_swin()
    scrambled(theirs.features)
    ours = SwinEncoder("swin-t").eval()
    ours.load_state_dict(swin_of_torchvision(theirs.state_dict()), strict=False)
    return ours, theirs.eval()


def torchvision_levels(net: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    maps = []
    for index, layer in enumerate(net.features):  # type: ignore[arg-type]
        images = layer(images)
        if index % 2:
            maps.append(F.layer_norm(images, images.shape[-1:]).permute(0, 3, 1, 2))
    return maps


@pytest.mark.parametrize("size", [(448, 576), (256, 388), (500, 260)])
def test_levels_are_torchvisions(size: tuple[int, int], pair: tuple[SwinEncoder, nn.Module]) -> None:
    ours, theirs = pair
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        maps, expected = ours.levels(images), torchvision_levels(theirs, images)
    assert [map_.shape[1] for map_ in maps] == list(ours.level_channels)
    for map_, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(map_, other, rtol=0, atol=1e-5)


def test_images_are_padded_to_whole_patches(pair: tuple[SwinEncoder, nn.Module]) -> None:
    ours, theirs = pair
    images = torch.randn(1, 3, 250, 259)
    with torch.inference_mode():
        maps = ours.levels(images)
        expected = torchvision_levels(theirs, F.pad(images, (0, 1, 0, 2)))
    assert [tuple(map_.shape[2:]) for map_ in maps] == [(63, 65), (32, 33), (16, 17), (8, 9)]
    for map_, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(map_, other, rtol=0, atol=1e-5)


def test_images_of_a_batch_do_not_mix(pair: tuple[SwinEncoder, nn.Module]) -> None:
    images = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        together = pair[0](images)
        for index in range(3):
            torch.testing.assert_close(together[index], pair[0](images[index : index + 1])[0], rtol=0, atol=1e-5)


def test_macs_are_torchvisions() -> None:
    with torch.device("meta"):
        ours, theirs = SwinEncoder("swin-t").eval(), torchvision_swin().eval()
    images = torch.empty(1, 3, 448, 576, device="meta")
    with torch.inference_mode():
        count = count_macs(lambda: ours.levels(images))
        expected = count_macs(lambda: theirs.features(images))  # type: ignore[operator]
    assert not count.unsupported
    assert count.macs == expected.macs


def test_the_map_is_the_three_coarser_levels_at_stride_8() -> None:
    encoder = SwinEncoder("swin-micro").eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        features, levels = encoder(images), encoder.levels(images)
        assert torch.equal(encoder.levels(images, (2,))[0], levels[2])
    assert features.shape == (1, 64 + 128 + 256, 8, 12)
    assert torch.equal(features[:, :64], levels[1])
    coarsest = F.interpolate(levels[3], size=(8, 12), mode="bilinear", align_corners=False)
    assert torch.equal(features[:, -256:], coarsest)


@pytest.mark.parametrize(("height", "width", "shift"), [(7, 7, 0), (14, 21, 3), (10, 16, 3), (5, 6, 3)])
def test_windows_are_put_back_where_they_were(height: int, width: int, shift: int) -> None:
    windows = Windows(height, width, 7, shift)
    map_ = torch.randn(2, height, width, 5)
    cut = windows.cut(map_)
    rows, columns = windows.grid
    assert cut.shape == (2 * rows * columns, 49, 5)
    assert torch.equal(windows.join(cut), map_)


@pytest.mark.parametrize(("height", "width"), [(9, 12), (6, 6), (3, 3)])
def test_cells_attend_to_those_beside_them_in_the_padded_map(height: int, width: int) -> None:
    """Cut the cells' own places: what is masked is exactly what is farther away than a window is wide."""
    windows = Windows(height, width, 3, 1)
    rows, columns = windows.grid
    whole = Windows(3 * rows, 3 * columns, 3, 1)
    places = torch.stack(torch.meshgrid(torch.arange(3 * rows), torch.arange(3 * columns), indexing="ij"), dim=-1)
    cut = whole.cut(places[None])
    distance = (cut[:, :, None] - cut[:, None, :]).abs().amax(dim=-1)
    mask = windows.mask(torch.device("cpu"))
    assert mask is not None
    if rows > 1 and columns > 1:
        assert torch.equal(mask[:, 0] == -100, distance > 2)
    else:  # one window: its last row and column come from the other side
        apart = (cut[:, :, None] == 0) != (cut[:, None, :] == 0)
        assert torch.equal(mask[:, 0] == -100, apart.any(dim=-1))


def test_offsets_run_row_by_row() -> None:
    index = offsets(2)  # cells (0, 0), (0, 1), (1, 0), (1, 1); offsets from (-1, -1) = 0 to (1, 1) = 8
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(8, heads=2, side=3)
    windows = Windows(6, 9, 3, 1)
    x = windows.cut(torch.randn(2, 6, 9, 8))
    mask = windows.mask(x.device)
    assert mask is not None
    result = attention(x, mask)
    q, k, v = attention.qkv(x).view(-1, 9, 3, 2, 4).permute(2, 0, 3, 1, 4)
    bias = attention.relative_position_bias_table[offsets(3)].permute(2, 0, 1)
    scores = (q @ k.transpose(-2, -1) / 2 + bias).view(2, 6, 2, 9, 9) + mask
    mixed = scores.softmax(-1).view(-1, 2, 9, 9) @ v
    torch.testing.assert_close(result, attention.proj(mixed.transpose(1, 2).reshape(-1, 9, 8)))
    result.sum().backward()
    assert attention.relative_position_bias_table.grad is not None


def test_merging_takes_rows_before_columns() -> None:
    merging = PatchMerging(1)
    merging.norm = nn.Identity()  # type: ignore[assignment]
    merging.reduction = nn.Identity()  # type: ignore[assignment]
    merged = merging(torch.arange(1.0, 10.0).view(1, 3, 3, 1))
    assert merged[0].flatten(0, 1).tolist() == [[1, 4, 2, 5], [3, 6, 0, 0], [7, 0, 8, 0], [9, 0, 0, 0]]


def test_drop_path_grows_over_the_blocks_and_acts_in_training_alone() -> None:
    encoder = SwinEncoder("swin-t")
    assert not any(getattr(layer, "drop_prob", 0) for layer in encoder.modules())
    encoder.set_drop_path(0.3)
    rates = [block.drop_path.drop_prob for block in encoder.modules() if isinstance(block, SwinBlock)]
    assert rates == pytest.approx(torch.linspace(0, 0.3, 12).tolist())
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert not torch.allclose(encoder(images), encoder(images))
        encoder.eval()
        assert torch.equal(encoder(images), encoder(images))


@pytest.mark.parametrize("name", SWINS)
def test_keys_are_the_authors(name: str) -> None:
    with torch.device("meta"):
        keys = build_backbone(name, (64, 64)).state_dict().keys()
    depths = SWINS[name].depths
    expected = {f"norm{level}.{part}" for level in range(4) for part in ("weight", "bias")}
    expected |= {f"patch_embed.norm.{part}" for part in ("weight", "bias")}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            names = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            own = {f"{layer}.{part}" for layer in names for part in ("weight", "bias")}
            own |= {"attn.relative_position_bias_table", "attn.relative_position_index"}
            expected |= {f"layers.{stage}.blocks.{block}.{key}" for key in own}
        if stage < 3:
            parts = ("norm.weight", "norm.bias", "reduction.weight")
            expected |= {f"layers.{stage}.downsample.{part}" for part in parts}
    assert {key for key in keys if not key.startswith("patch_embed.proj.")} == expected
