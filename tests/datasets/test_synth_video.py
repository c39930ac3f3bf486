"""Rendered clips: kinds of motion, exact motion against geometry, one exposure, labels, splits."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.data.clips import ClipReader
from harness.datasets.nyud_synth_video import NYUDSynthVideo
from harness.datasets.synth.motion import KINDS, MORE_KINDS, Pose, path_of, project
from harness.datasets.synth.render import pixel_rays
from harness.datasets.synth.video import Film, film, write_clips

pytestmark = pytest.mark.xdist_group("scenes")  # its tests share what they are made from

SIZE = (30, 40)


@cache
def shot(kind: str, frames: int = 4) -> Film:
    return film(kind, 10_000, frames=frames, size=SIZE, noise=0)


def still(name: str) -> float:
    """Return the largest change of a grey level between frames."""
    return max(float(np.abs(a.image.astype(int) - b.image).max()) for a, b in pairwise(shot(name).frames))


def speed(kind: str) -> float:
    """Return the mean motion of visible pixels, in pixels of a picture 140 pixels wide."""
    found = [np.linalg.norm(motion.flow[motion.visible], axis=-1).mean() for motion in shot(kind).motions]
    return float(np.mean(found)) * 140 / SIZE[1]


def test_at_rest_nothing_moves() -> None:
    assert still("static") == 0
    for motion in shot("static").motions:
        assert np.abs(motion.flow).max() < 1e-3
        assert motion.visible.all()
        np.testing.assert_allclose(motion.rotation, np.eye(3), atol=1e-6)


def test_kinds_move_as_fast_as_they_say() -> None:
    assert speed("slow") == pytest.approx(0.23, abs=0.05)
    assert 0.3 < speed("hand") < 1.0
    assert 0.2 < speed("walk") < 1.5
    assert speed("fast") == pytest.approx(3.5, abs=0.5)
    assert speed("calm") < 0.2
    assert still("light") > 0
    assert speed("light") < 1e-3


@pytest.mark.parametrize("kind", ["hand", "fast", "walk"])
def test_a_projected_point_returns(kind: str) -> None:
    scenes, frames = shot(kind).scenes, shot(kind).frames
    (before, after), frame = scenes[:2], frames[0]
    points = before.camera.position + pixel_rays(before.camera, SIZE).astype(float) * frame.depth[..., None]
    column, row, depth = project(before.camera, points, SIZE)
    assert np.abs(column - np.arange(SIZE[1])).max() < 0.01
    assert np.abs(row - np.arange(SIZE[0])[:, None]).max() < 0.01
    np.testing.assert_allclose(depth, frame.depth, rtol=1e-4)
    # Forward with the motion, back along the next camera's ray at the predicted depth.
    flow = shot(kind).motions[0].flow
    _, _, ahead = project(after.camera, points, SIZE)
    grid = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1) + flow
    focal = after.camera.focal * SIZE[1]
    local = (
        np.concatenate([(grid + 0.75 - np.array(SIZE[::-1]) / 2) / focal, np.ones((*SIZE, 1))], -1) * ahead[..., None]
    )
    column, row, _ = project(before.camera, after.camera.position + local @ after.camera.rotation.astype(float), SIZE)
    assert np.abs(column - np.arange(SIZE[1])).max() < 0.01
    assert np.abs(row - np.arange(SIZE[0])[:, None]).max() < 0.01


def test_visible_pixels_are_those_of_a_depth_test_by_hand() -> None:
    scenes, frames, motion = shot("walk").scenes, shot("walk").frames, shot("walk").motions[0]
    (_, after), (frame, shown) = scenes[:2], frames[:2]
    rays = pixel_rays(scenes[0].camera, SIZE)
    for row in range(0, SIZE[0], 3):
        for column in range(0, SIZE[1], 3):
            point = scenes[0].camera.position + rays[row, column].astype(float) * frame.depth[row, column]
            x, y, ahead = (float(value) for value in project(after.camera, point, SIZE))
            x, y = round(x), round(y)
            inside = 0 <= x < SIZE[1] and 0 <= y < SIZE[0]
            seen = (
                inside
                and shown.shape[y, x] == frame.shape[row, column]
                and abs(shown.depth[y, x] - ahead) < 0.05 * ahead
            )
            assert bool(motion.visible[row, column]) == seen


def test_one_thing_moves_and_the_exposure_stays() -> None:
    frames, motions = shot("object").frames, shot("object").motions
    moving = np.abs(motions[0].flow).max(-1) > 0.05
    assert 0.02 < moving.mean() < 0.4
    assert len({frame.gain for frame in frames}) == 1
    # Far from the thing and its shadow not one grey level changes.
    changed = np.abs(frames[0].image.astype(int) - frames[1].image).max(-1) > 0
    assert changed.mean() < 0.5
    for kind in ("light", "hand"):
        assert len({frame.gain for frame in shot(kind).frames}) == 1


def test_a_cut_shows_two_rooms() -> None:
    cut = shot("cut")
    visible = [bool(motion.visible.any()) for motion in cut.motions]
    assert visible == [True, False, True]
    assert len({frame.gain for frame in cut.frames}) == 2


def test_mixed_rests_pans_and_rests() -> None:
    path = path_of("mixed", np.random.default_rng(0))
    assert path(8) == Pose()
    assert abs(path(12).yaw) == 4
    assert path(16) == path(23)


def test_unknown_or_all_kinds_can_be_rendered() -> None:
    for kind in (*KINDS, *MORE_KINDS):
        assert film(kind, 10_001, frames=2, size=(12, 16), noise=0).kind == kind


def test_the_data_set_reads_what_it_writes(tmp_path: Path) -> None:
    dataset, root = NYUDSynthVideo(), tmp_path / "clips"
    names = dataset.card.tasks["semseg"]
    write_clips(root, names, seed=0, train=2, rooms=1, size=SIZE, kinds=("static", "fast"), frames=3)
    train, val = dataset.clips(root, "train"), dataset.clips(root, "val")
    assert [clip.info.kind for clip in val] == ["static", "fast"]
    assert [clip.info.scene for clip in val] == ["room 10000"] * 2
    assert not {clip.info.scene for clip in train} & {clip.info.scene for clip in val}
    shown = film("fast", 10_000, frames=3, size=SIZE)
    clip = val[1]
    assert np.array_equal(clip.image(2), shown.frames[2].image)
    np.testing.assert_allclose(clip.label(2, "depth"), shown.frames[2].depth, rtol=1e-3)
    angle = (clip.label(2, "normals") * shown.frames[2].normals).sum(-1)
    assert float(angle.min()) > 0.99
    assert clip.label(0, "semseg").max() < 40
    assert set(np.unique(clip.label(0, "boundary"))) == {0, 1}
    motion = clip.motion(0)
    assert motion is not None
    np.testing.assert_allclose(motion.flow, shown.motions[0].flow, atol=0.02)
    assert np.array_equal(motion.visible, shown.motions[0].visible)
    reader = dataset.reader(root, "val")
    assert isinstance(reader, ClipReader)
    assert len(reader.ids) == 6
    assert dataset.input_size(reader) == (32, 48)
    assert reader.absent(["semseg", "depth", "normals", "boundary"]) == {}
