"""Same seed, same bytes; complete folders or none."""

import hashlib
import threading
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from harness.datasets.nyud_synth import NYUDSynth
from harness.datasets.pascal_synth import PascalSynth
from harness.datasets.synth.clips import CALM_SHARE, calm_shares, film
from harness.datasets.synth.files import write_mat
from harness.errors import UsageError

BOTH = pytest.mark.parametrize("dataset", [NYUDSynth(), PascalSynth()], ids=lambda d: d.name)


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def small(dataset, root, seed=3, train=2, val=1, **options):
    dataset.write(root, seed=seed, train=train, val=val, size=(40, 56), **options)
    return digests(root)


@BOTH
def test_the_seed_decides_every_byte(dataset, tmp_path):
    first = small(dataset, tmp_path / "a")
    assert small(dataset, tmp_path / "b") == first
    other = small(dataset, tmp_path / "c", seed=4)
    changed = {name for name in first if other[name] != first[name]}
    assert {name for name in first if name.startswith(("images", "JPEGImages", "depth"))} <= changed


@BOTH
def test_an_image_does_not_depend_on_how_many_there_are(dataset, tmp_path):
    few, many = small(dataset, tmp_path / "a"), small(dataset, tmp_path / "b", train=4, val=2)
    lists = {name for name in few if name.endswith(".txt")}
    assert {k: v for k, v in many.items() if k in few and k not in lists} == {
        k: v for k, v in few.items() if k not in lists
    }
    assert len(many) > len(few)


def test_clips_do_not_change_the_stills(tmp_path):
    without, with_clips = small(NYUDSynth(), tmp_path / "a"), small(NYUDSynth(), tmp_path / "b", clips=1)
    assert {k: v for k, v in with_clips.items() if not k.startswith("video")} == without


def test_mat_files_carry_no_time(tmp_path):
    write_mat(tmp_path / "x.mat", {"LabelMap": np.eye(3, dtype=np.uint16)})
    header = (tmp_path / "x.mat").read_bytes()[:128]
    assert header[:116].rstrip() == b"MATLAB 5.0 MAT-file Platform: posix"
    assert header[124:] == b"\x00\x01IM"


@BOTH
def test_a_failure_leaves_nothing_behind(dataset, tmp_path):
    def stop(done, total):
        assert total == 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(dataset, tmp_path / "a", progress=stop)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_full_folder_is_left_alone_and_an_empty_one_used(dataset, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        small(dataset, tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert "meta.json" in small(dataset, tmp_path / "empty")


@BOTH
def test_progress_counts_up_to_the_total(dataset, tmp_path):
    seen = []
    small(dataset, tmp_path / "a", progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_two_askers_render_the_default_set_once(private_cache, monkeypatch):
    calls, got = [], []
    both_started = threading.Barrier(2)

    def write(self, root, **options):
        calls.append(root)
        root.mkdir()

    monkeypatch.setattr(NYUDSynth, "write", write)

    def ask():
        both_started.wait()
        got.append(NYUDSynth().root(None))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(calls) == 1
    assert got[0] == got[1] == calls[0]
    assert private_cache in got[0].parents


def test_clips_follow_the_video_layout(tmp_path):
    small(NYUDSynth(), tmp_path / "a", clips=4)
    video = tmp_path / "a" / "video"
    tasks = {"rgb", "semseg", "rgb_17", "rgb_18", "rgb_19", "rgb_21", "rgb_22", "rgb_23"}
    for split, names in (("train", ["0001.png", "0002.png", "0003.png"]), ("test", ["0004.png"])):
        assert {p.name for p in (video / split).iterdir()} == tasks
        for task in tasks:
            assert sorted(p.name for p in (video / split / task).iterdir()) == names
    labels = np.array(Image.open(video / "test" / "semseg" / "0004.png"))
    assert labels.shape == (40, 56)
    assert 1 <= labels.min() <= labels.max() <= 40


def test_neighbouring_frames_differ_a_little():
    _, frames = film(1, (106, 140), np.random.default_rng([0, 2, 1]))
    shares = calm_shares(frames)
    assert len(shares) == 6
    assert min(shares) >= CALM_SHARE[0]
    assert np.mean(shares) <= CALM_SHARE[1]
    assert not any(np.array_equal(a.shape, b.shape) for a, b in pairwise(frames))
