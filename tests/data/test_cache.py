"""A cache belongs to one content, gives back what was decoded or decodes again, and outlives dying processes."""

import errno
import multiprocessing.synchronize
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.data import cache, content, parallel
from harness.data.cache import open_scenes
from harness.datasets.nyud import NYUD
from harness.errors import DataError

TASKS = ["semseg", "depth", "normals", "boundary"]


def nyud_scenes(root, split="val", tasks=TASKS, limit=None):
    dataset = NYUD()
    return open_scenes(dataset, dataset.reader(root, split), tasks, limit)


def arrow_file(cache_folder):
    (file,) = (cache_folder / "scenes").glob("*.arrow")
    return file


def test_a_damaged_cache_is_built_again_and_said(nyud_root, private_cache, capfd):
    expected = nyud_scenes(nyud_root).fingerprint
    file = arrow_file(private_cache)
    file.write_bytes(file.read_bytes()[:100])
    assert nyud_scenes(nyud_root).fingerprint == expected
    assert "the cache is damaged" in capfd.readouterr().err
    assert nyud_scenes(nyud_root).fingerprint == expected
    assert capfd.readouterr().err == ""


def test_no_damaged_byte_reaches_a_label_or_the_fingerprint(nyud_root, private_cache, capfd):
    expected = nyud_scenes(nyud_root)
    wanted = [(sample.id, sample.image.copy(), sample.labels) for sample in expected]
    file = arrow_file(private_cache)
    whole = file.read_bytes()
    said = 0
    for place in range(7, len(whole), len(whole) // 60):
        data = bytearray(whole)
        data[place] ^= 0x55
        file.unlink()  # not written through: the scenes above have the old file mapped
        file.write_bytes(data)
        scenes = nyud_scenes(nyud_root)
        assert scenes.fingerprint == expected.fingerprint
        for sample, (image_id, image, labels) in zip(scenes, wanted, strict=True):
            assert sample.id == image_id
            np.testing.assert_array_equal(sample.image, image)
            for task, label in labels.items():
                np.testing.assert_array_equal(sample.labels[task], label)
        said += "the cache is damaged" in capfd.readouterr().err
    assert said > 20  # the other bytes are padding and descriptions that nothing reads
    nyud_scenes(nyud_root)
    assert file.read_bytes() == whole


def test_damaged_labels_of_a_source_that_changed_are_refused(nyud_root, private_cache):
    scenes = nyud_scenes(nyud_root, tasks=["depth"])
    file = arrow_file(private_cache)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for path in (nyud_root / "depth").iterdir():
        np.save(path, np.load(path) + 1)
    with pytest.raises(DataError, match="changed while they were in use"):
        list(scenes)


def set_times(root):
    for path in root.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def other_depths(root):
    for path in (root / "depth").iterdir():
        depth = np.load(path)
        np.save(path, depth[::-1] + 1)  # of the same size on disk


def test_two_builds_of_equal_sizes_and_times_never_share_a_cache(nyud_root):
    other = Path(shutil.copytree(nyud_root, nyud_root.with_name("other")))
    other_depths(other)
    for root in (nyud_root, other):
        set_times(root)
    first, second = nyud_scenes(nyud_root), nyud_scenes(other)
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first[0].labels["depth"], second[0].labels["depth"])
    # The same place with the other content, as a container mounts it.
    nyud_root.rename(nyud_root.with_name("away"))
    other.rename(nyud_root)
    assert nyud_scenes(nyud_root).fingerprint == second.fingerprint


def test_where_no_time_of_change_is_kept_the_files_are_read(nyud_root, monkeypatch):
    """Images of containers store whole seconds and number their files alike."""
    original = Path.stat

    def frozen(path, **options):
        status = original(path, **options)
        if not path.is_relative_to(nyud_root):
            return status
        times = {"st_mtime_ns": 10**9, "st_ctime_ns": 10**9, "st_atime_ns": 10**9}
        return os.stat_result((status.st_mode, 1, 1, 1, 0, 0, status.st_size, 1, 1, 1), times)

    monkeypatch.setattr(Path, "stat", frozen)
    first = nyud_scenes(nyud_root).fingerprint
    other_depths(nyud_root)
    assert nyud_scenes(nyud_root).fingerprint != first


def test_known_files_are_not_read_again(nyud_root, monkeypatch):
    first = nyud_scenes(nyud_root).fingerprint
    monkeypatch.setattr(content, "_digest_of", None)  # would fail if called
    assert nyud_scenes(nyud_root).fingerprint == first


@pytest.fixture
def in_processes(monkeypatch):
    monkeypatch.setattr(parallel, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)


LETTERS = [chr(97 + k) for k in range(26)]


def _die_at(doomed, item):
    if item in doomed:
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


def test_a_dying_process_is_noticed_and_laid_to_its_item(in_processes):
    with parallel.mapped(partial(_die_at, "cx"), LETTERS, died=lambda item: f"({item})") as found:
        assert "".join(found) == "AB(c)DEFGHIJKLMNOPQRSTUVW(x)YZ"
    with pytest.raises(DataError, match="x: the process"), parallel.mapped(partial(_die_at, "x"), LETTERS) as found:
        list(found)


def _die_once(marker, item):
    if item == "m" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_process_that_was_killed_once_costs_nothing(tmp_path, in_processes):
    with parallel.mapped(partial(_die_once, tmp_path / "once"), LETTERS) as found:
        assert list(found) == LETTERS


def test_without_room_for_semaphores_one_process_does_it_all(monkeypatch, in_processes):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", full)
    with parallel.mapped(str.upper, LETTERS) as found:
        assert "".join(found) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_a_block_that_is_left_early_ends_its_processes(in_processes):
    with parallel.mapped(str, range(10_000)) as found:
        assert next(found) == "0"


original_row = cache.row


def _die_at_0009(reader, tasks, image_id):
    if image_id == "0009":
        os._exit(1)
    return original_row(reader, tasks, image_id)


def test_a_scene_that_kills_its_decoder_is_named(nyud_root, monkeypatch, in_processes):
    monkeypatch.setattr(cache, "row", _die_at_0009)
    with pytest.raises(DataError, match=r"scene 0009 died.*depth/0009\.npy"):
        nyud_scenes(nyud_root)


def test_a_cache_that_is_only_read_serves_files_without_times(nyud_root, monkeypatch):
    first = nyud_scenes(nyud_root).fingerprint

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(content, "write_atomically", read_only)
    set_times(nyud_root)  # the noted stats fit no more
    assert nyud_scenes(nyud_root).fingerprint == first


ORPHANS = """
import os, sys, time
from harness.data import parallel
parallel._WORTH_PROCESSES, parallel.usable_cores = 1, lambda: 2

def slow(number):
    print(os.getpid(), flush=True)
    time.sleep(60)

with parallel.mapped(slow, range(100)) as found:
    next(found)
"""


def test_processes_end_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    children = {int(parent.stdout.readline()) for _ in range(2)}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
