"""Metrics over time on clips made by hand: consistency, changes along the motion, errors against dense, replays."""

import math

import numpy as np
import pytest
import torch

from harness.data.clips import Motion
from harness.records.stream import Times, frame_macs
from harness.stream.consistency import (
    ClassConsistency,
    depth_change,
    map_change,
    normals_change,
    pulse,
    video_consistency,
)
from harness.stream.off_dense import drift, feature_error, off_dense
from harness.stream.realtime import replay
from harness.stream.warp import warped

# Four frames of 1 x 4 pixels.
LABELS = torch.tensor([[[1, 1, 2, 255]], [[1, 1, 2, 255]], [[1, 3, 2, 255]], [[1, 3, 2, 255]]])
GUESSES = torch.tensor([[[1, 0, 2, 9]], [[1, 0, 0, 9]], [[1, 0, 2, 9]], [[1, 0, 2, 5]]])


def moved(columns: float = 1.0, width: int = 4, height: int = 1) -> Motion:
    """Return the motion of a picture that goes to the right; what leaves it is not visible."""
    flow = np.zeros((height, width, 2), np.float32)
    flow[..., 0] = columns
    visible = np.arange(width) + columns <= width - 1
    return Motion(flow, np.broadcast_to(visible, (height, width)).copy(), np.eye(3, dtype=np.float32))


def test_video_consistency_by_hand() -> None:
    # Windows of two: labels stay in pixels 0 1 2 (and void 3) of 01 and 23, in 0 2 3 of 12.
    assert video_consistency(GUESSES, LABELS, 2, "all") == pytest.approx([2 / 3, 1 / 2, 1.0])
    # The released loop: without the last window, and void counts: 0 1 3 of four, then 0 3 of three.
    assert video_consistency(GUESSES, LABELS, 2, "vspw") == pytest.approx([3 / 4, 2 / 3])
    assert video_consistency(GUESSES, LABELS, 4, "vspw") == []
    assert video_consistency(GUESSES, LABELS, 4, "all") == pytest.approx([1 / 2])
    assert video_consistency(LABELS, LABELS, 2, "all") == [1, 1, 1]


def test_maps_of_the_next_frame_are_seen_along_the_motion() -> None:
    row = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
    assert warped(row, torch.from_numpy(moved(1).flow))[0, 0].tolist() == pytest.approx([1, 2, 3, 3])
    assert warped(row, torch.from_numpy(moved(0.5).flow))[0, 0].tolist() == pytest.approx([0.5, 1.5, 2.5, 3])
    assert warped(row, torch.from_numpy(moved(0.4).flow), nearest=True)[0, 0].tolist() == [0, 1, 2, 3]


def test_true_labels_moved_by_the_motion_do_not_change() -> None:
    before, after = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[0, 1, 2, 3]])
    found = ClassConsistency(4)
    assert found.update(before, after, moved()) == 0
    assert (found.tc(), found.flicker()) == (1, 0)
    depth, nearer = torch.tensor([[2.0, 3.0, 4.0, 5.0]]), torch.tensor([[9.0, 1.9, 2.9, 3.9]])
    assert depth_change(depth, nearer, (depth, nearer), moved()) == pytest.approx((0, 0), abs=1e-6)
    assert map_change(depth, nearer + 0.1, moved()) == pytest.approx(0, abs=1e-6)
    # A camera that turns by 90 degrees about its vertical: right becomes ahead.
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    motion = Motion(*(getattr(moved(0), name) for name in ("flow", "visible")), turn)
    ahead = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 1, 4)
    seen_later = torch.einsum("ji,jhw->ihw", torch.from_numpy(turn), ahead)
    assert normals_change(ahead, seen_later, motion) == pytest.approx(0, abs=1e-4)
    assert normals_change(ahead, ahead, motion) == pytest.approx(90, abs=1e-4)


def test_what_changes_is_counted_where_it_is_visible() -> None:
    found = ClassConsistency(3)
    assert found.update(torch.tensor([[0, 1, 2, 2]]), torch.tensor([[2, 0, 2, 2]]), moved()) == pytest.approx(1 / 3)
    assert found.flicker() == pytest.approx(1 / 3)
    # Classes 0 and 2: IoU 1 and 1/2; class 1: 0.
    assert found.tc() == pytest.approx(0.5)
    still = ClassConsistency(3)
    still.update(GUESSES[0].clamp(max=2), GUESSES[0].clamp(max=2), moved(0))
    assert still.flicker() == 0
    assert math.isnan(ClassConsistency(3).flicker())
    depth = torch.full((1, 4), 2.0)
    metres, relative = depth_change(depth, depth + 0.5, (depth, depth), moved())
    assert (metres, relative) == pytest.approx((0.5, 0.25))


def test_pulse_compares_frames_computed_in_full_with_the_others() -> None:
    assert pulse([0.1, 0.4, 0.1, 0.1], [False, True, False, False]) == pytest.approx(4)
    assert math.isnan(pulse([0.1], [False]))


def test_errors_against_dense_by_hand() -> None:
    classes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert off_dense("semseg", classes, classes.flip(0)) == 1
    assert off_dense("depth", torch.tensor([[[2.2, 0.2]]]), torch.tensor([[[2.0, 0.1]]])) == pytest.approx(
        (0.1 + 0.1 / 0.3) / 2
    )
    right, up = torch.tensor([1.0, 0, 0]).view(3, 1, 1), torch.tensor([0, 2.0, 0]).view(3, 1, 1)
    assert off_dense("normals", right, up) == pytest.approx(90)
    assert off_dense("boundary", torch.zeros(1, 1, 1), torch.full((1, 1, 1), math.log(3))) == pytest.approx(0.25)
    assert feature_error(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)
    assert drift([0.0] * 12) == 0
    assert math.isnan(drift([1.0] * 5))


def test_a_hand_made_clock() -> None:
    # Ten frames a second; the second takes 0.25 s: frames 2 and 3 come meanwhile, 3 is the newest.
    found = replay([0.05, 0.25, 0.05, 0.05, 0.05, 0.05], fps=10)
    assert found.processed == (0, 1, 3, 4, 5)
    assert found.finished == pytest.approx((0.05, 0.35, 0.4, 0.45, 0.55))
    assert found.shown == (None, 0, 0, 0, 3, 4)
    assert (found.misses, found.lag) == (1, pytest.approx((1 + 2 + 3 + 1 + 1) / 5))
    # A model in no time lags by nothing: F -> 0.
    assert replay([0.0] * 4, fps=10).shown == (0, 1, 2, 3)
    assert replay([0.05] * 4, fps=0.01).lag == 1
    assert replay([0.05] * 4, fps=10, margin=0.06).shown == (None, None, 0, 1)


def test_statistics_of_frames() -> None:
    times = Times.of([float(value) for value in range(1, 101)])
    assert times is not None
    assert (times.p50_ms, times.worst_ms) == (50.5, 100)
    assert times.p99_ms == pytest.approx(99.01)
    assert Times.of([]) is None
    macs = frame_macs(
        [{"blocks/a": 8, "head/a": 2}, {"blocks/a": 2, "head/a": 2}], [True, False], {"blocks/a": 8, "head/a": 2}, True
    )
    assert (macs.mean, macs.full, macs.partial, macs.dense, macs.blocks_partial) == (7, 10, 4, 10, 0.25)
