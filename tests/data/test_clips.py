"""The layout of clips: frames, sparse labels, motion, splits; video files with frames; what is wrong with one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.clips import Clip, ClipFolder, ClipReader
from harness.data.video import VideoFile, VideoWriter, camera_frames, require_av, write_video
from harness.errors import DataError, UsageError

DRAW = np.random.default_rng(0)
PICTURES = [DRAW.integers(0, 256, (17, 23, 3), dtype=np.uint8) for _ in range(4)]


def write_clip(
    root: Path, split: str, name: str, scene: str | None = None, video: bool = False, **listed: object
) -> Path:
    folder = root / "clips" / split / name
    (folder / "semseg").mkdir(parents=True)
    if video:
        write_video(folder / "rgb.mkv", PICTURES, 30, lossless=True)
    else:
        (folder / "rgb").mkdir()
        for index, picture in enumerate(PICTURES):
            Image.fromarray(picture).save(folder / "rgb" / f"{index:06d}.png")
    Image.fromarray(np.full((17, 23), 7, np.uint8)).save(folder / "semseg" / "000002.png")
    frames = [{"pts": index / 30, "labels": ["semseg"] if index == 2 else []} for index in range(4)]
    (folder / "clip.json").write_text(json.dumps({"fps": 30, "frames": frames, "scene": scene, **listed}))
    lists = root / "splits"
    lists.mkdir(exist_ok=True)
    with (lists / f"{split}.txt").open("a") as file:
        file.write(f"{name}\n")
    return folder


def test_frames_come_in_order_and_labels_are_sparse(tmp_path: Path) -> None:
    write_clip(tmp_path, "val", "kitchen")
    [clip] = ClipFolder(tmp_path, "val")
    assert (len(clip), clip.fps, clip.size(), clip.lossless) == (4, 30, (17, 23), True)
    assert all(np.array_equal(found, picture) for found, picture in zip(clip, PICTURES, strict=True))
    assert clip.labelled("semseg") == [2]
    assert (clip.label(2, "semseg") == 7).all()
    with pytest.raises(KeyError):
        clip.label(1, "semseg")
    assert clip.motion(0) is None


def test_labelled_frames_are_still_images(tmp_path: Path) -> None:
    write_clip(tmp_path, "val", "kitchen")
    reader = ClipReader(ClipFolder(tmp_path, "val"), "test")
    assert reader.ids == ("kitchen-000002",)
    assert np.array_equal(reader.image("kitchen-000002"), PICTURES[2])
    assert reader.absent(["semseg", "depth"]) == {"depth": "1 of 1 labelled frames have none, first kitchen-000002"}
    assert sorted(reader.files("kitchen-000002")) == ["image", "semseg"]
    with pytest.raises(DataError, match="depth of kitchen-000002 cannot be read"):
        reader.label("kitchen-000002", "depth")


def test_a_clip_or_a_scene_in_both_splits_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", "train", "kitchen")
    write_clip(tmp_path / "a", "val", "kitchen")
    with pytest.raises(DataError, match="clip kitchen belongs to both splits"):
        ClipFolder(tmp_path / "a", "val")
    write_clip(tmp_path / "b", "train", "one", scene="room 1")
    write_clip(tmp_path / "b", "val", "two", scene="room 1")
    with pytest.raises(DataError, match="one and two show the scene room 1"):
        ClipFolder(tmp_path / "b", "val")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"fps": 0}, "fps: must be greater than 0, not 0"),
        ({"frames": []}, "frames: List should have at least 1 item|frames: "),
        ({"frames": [{"pts": 1.0}, {"pts": 0.5}]}, "must grow from frame to frame"),
        ({"frame": []}, "frame: there is no such field"),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path: Path, listed: dict[str, object], message: str) -> None:
    folder = write_clip(tmp_path, "val", "kitchen", **listed)
    with pytest.raises(DataError, match=message) as raised:
        Clip(folder)
    assert "\n" not in str(raised.value)


def test_missing_frames_labels_and_lists_are_named(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, "val", "kitchen", motion="exact")
    with pytest.raises(DataError, match=r"000000-000001\.npz: the file is missing"):
        Clip(folder).motion(0)
    (folder / "rgb" / "000001.png").unlink()
    with pytest.raises(DataError, match=r"000001\.png: the file is missing"):
        list(Clip(folder))
    (folder / "semseg" / "000002.png").unlink()
    with pytest.raises(DataError, match=r"semseg/000002\.png: the file is missing"):
        Clip(folder).label(2, "semseg")
    (folder / "clip.json").unlink()
    with pytest.raises(DataError, match=r"clip\.json: the file is missing"):
        Clip(folder)


def test_a_clip_without_frames_is_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, "val", "kitchen")
    for path in (folder / "rgb").iterdir():
        path.unlink()
    (folder / "rgb").rmdir()
    with pytest.raises(DataError, match=r"neither a folder rgb/ nor rgb\.mkv or rgb\.mp4"):
        Clip(folder)


# Video files


def test_a_lossless_file_gives_the_very_pixels_in_any_order(tmp_path: Path) -> None:
    pytest.importorskip("av")
    folder = Clip(write_clip(tmp_path, "val", "folder"))
    file = Clip(write_clip(tmp_path, "val", "file", video=True))
    assert file.lossless
    assert all(np.array_equal(found, picture) for found, picture in zip(file, folder, strict=True))
    for index in (3, 0, 2, 2, 1):
        assert np.array_equal(file.image(index), PICTURES[index])
    video = VideoFile(file.folder / "rgb.mkv")
    assert video.fps == 30
    assert [round(time or 0, 3) for time, _ in video] == [0, 0.033, 0.067, 0.1]
    with pytest.raises(DataError, match="has no frame 4, it ends after 4"):
        file.image(4)


def test_a_file_for_looking_at_has_all_frames(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "look.mp4"
    assert write_video(path, PICTURES, 25) == 4
    pictures = [picture for _, picture in VideoFile(path)]
    assert [picture.shape for picture in pictures] == [(16, 22, 3)] * 4


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    broken, cut, empty = (tmp_path / name for name in ("broken.mkv", "cut.mkv", "empty.mkv"))
    broken.write_bytes(b"no video at all" * 100)
    write_video(cut, [np.asarray(Image.fromarray(p).resize((230, 170))) for p in PICTURES * 8], 30, lossless=True)
    cut.write_bytes(cut.read_bytes()[:20_000])
    empty.write_bytes(b"")
    for path in (broken, empty, tmp_path / "none.mkv"):
        with pytest.raises(DataError, match=path.name) as raised:
            list(VideoFile(path))
        assert "\n" not in str(raised.value)
    kept = iter(VideoFile(cut))
    with pytest.raises(DataError, match=r"cut\.mkv: breaks off after \d frames, 1\.\d s .* it may be truncated"):
        list(kept)


def test_without_pyav_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-harness\[video\]', or give a folder of images"):
        require_av()
    with pytest.raises(UsageError, match="need PyAV"):
        VideoWriter(tmp_path / "a.mkv", 30)


def test_no_camera_is_one_line() -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match="camera:97: there is no /dev/video97"):
        next(camera_frames(97))
