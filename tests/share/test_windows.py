"""Attention in windows of which some are skipped, against the encoder's own and against loops."""

import math

import pytest
import torch

from harness.backbones.windows import WindowAttention, Windows
from harness.counting import count_macs
from harness.methods.share.windows import Partition


@pytest.mark.parametrize(("height", "width", "shift"), [(18, 26, 0), (18, 26, 3), (5, 7, 3), (7, 14, 0), (3, 4, 3)])
def test_attention_of_all_tokens_is_that_of_the_encoder(height: int, width: int, shift: int) -> None:
    torch.manual_seed(0)
    layer, windows = WindowAttention(32, 2, 7), Windows(height, width, 7, shift)
    partition = Partition(windows)
    map_ = torch.randn(2, height, width, 32)
    with torch.no_grad():
        layer.qkv.bias.normal_()
        expected = windows.join(layer(windows.cut(map_), windows.mask(map_.device))).flatten(1, 2)
        qkv = layer.qkv(map_.flatten(1, 2))
        bias = partition.bias(layer.relative_position_bias_table)
        found = layer.proj(partition.of_all(qkv, layer.qkv.bias, bias, 2))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("count", [1, 9, 60, 200, 468])
def test_few_tokens_lie_in_few_windows_and_attend_as_all_would(shift: int, count: int) -> None:
    torch.manual_seed(count)
    partition = Partition(Windows(18, 26, 7, shift))
    room = partition.room(count)
    assert partition.count == 12
    least = next(n for n in range(13) if sum(partition.fills[:n]) >= count)
    assert room == min(12, max(least, math.ceil(2 * count * 12 / 468)))
    places = partition.within(torch.rand(2, 468), count).topk(count, sorted=False).indices
    assert max(len(partition.window[row].unique()) for row in places) <= room
    qkv, pad, bias = torch.randn(2, 468, 96), torch.randn(96), torch.randn(2, 49, 49)
    everything = partition.of_all(qkv, pad, bias, 2)
    expected = everything.gather(1, places[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(partition.of_some(qkv, places, pad, bias, 2, room), expected)
    macs = count_macs(lambda: partition.of_some(qkv, places, pad, bias, 2, room)).macs
    assert macs == 2 * room * 2 * 49**2 * 32, "whole windows are skipped"


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("room", [12, 3])
def test_own_tokens_attend_among_the_bases_and_keep_its_result_in_skipped_windows(keys: bool, room: int) -> None:
    torch.manual_seed(room)
    partition = Partition(Windows(18, 26, 7, 3))
    base, pad, bias = torch.randn(2, 468, 96), torch.randn(96), torch.randn(6, 2, 49, 49)
    places = torch.stack([torch.randperm(468)[:30] for _ in range(6)])  # three sub-tasks of two images
    own = torch.randn(6, 30, 96 if keys else 32)
    context = partition.of_all(base, pad, torch.randn(2, 49, 49), 2)
    found = partition.beside(own, places, base, context, pad, bias, 2, room)
    for number in range(6):
        qkv = base[number % 2].clone()
        chosen = partition.busiest(places[number][None], room)[0]
        covered = torch.isin(partition.window[places[number]], chosen)
        qkv[places[number], : own.shape[-1]] = own[number]
        if keys:  # own keys of skipped windows are nobody's
            qkv[places[number][~covered]] = base[number % 2][places[number][~covered]]
        expected = partition.of_all(qkv[None], pad, bias[number], 2)[0, places[number]]
        kept = context[number % 2, places[number]]
        torch.testing.assert_close(found[number], expected.where(covered[:, None], kept))
        assert bool(covered.all()) is (room == 12)
