"""The cache builds once and notices changes; batches follow from their numbers."""

import errno
import multiprocessing
import multiprocessing.synchronize
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.data import cache, parallel
from harness.data.augment import Augmentation, TrainTransform
from harness.data.cache import open_scenes
from harness.data.codec import decode, encode
from harness.data.geometry import Pad, Resize
from harness.data.labels import decode_normals
from harness.data.loading import eval_batches, loader_fault, train_batches
from harness.datasets.nyud import NYUD
from harness.datasets.pascal_context import PascalContext
from harness.errors import DataError, MethodError, UsageError

TASKS = ["semseg", "depth", "normals", "boundary"]


def nyud_scenes(root, split="val", tasks=TASKS, limit=None):
    dataset = NYUD()
    return open_scenes(dataset, dataset.reader(root, split), tasks, limit)


def arrow_files(cache_folder):
    return sorted((cache_folder / "scenes").glob("*.arrow"))


def same(one, two):
    assert one.ids == two.ids
    assert (one.sizes, one.offsets) == (two.sizes, two.offsets)
    assert torch.equal(one.images, two.images)
    assert one.labels.keys() == two.labels.keys()
    for task in one.labels:
        assert torch.equal(one.labels[task], two.labels[task])


def all_same(one, two):
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        same(left, right)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_labels_survive_the_codec_bit_for_bit(seed, invalid, eight_bit):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    normals = decode_normals(rgb) if eight_bit else rng.normal(size=(4, 5, 3)).astype(np.float32)
    if invalid:
        normals[rng.random((4, 5)) < 0.5] = 0
    for label in (normals, rng.integers(0, 256, (4, 5)).astype(np.uint8), rng.random((4, 5), np.float32)):
        form, data = encode(label)
        back = decode(form, memoryview(data))
        assert back.dtype == label.dtype
        np.testing.assert_array_equal(back, label)
    assert len(encode(normals)[1]) <= (80 if eight_bit else 240)


def test_scenes_equal_the_reader(mini):
    dataset, root = mini
    reader = dataset.reader(root, "val")
    tasks = [task.name for task in dataset.tasks]
    scenes = open_scenes(dataset, reader, tasks)
    assert scenes.ids == reader.ids
    assert len(scenes) == len(reader.ids)
    copy = pickle.loads(pickle.dumps(scenes))
    for sample, other, size in zip(scenes, copy, scenes.sizes, strict=True):
        assert sample.image.shape[:2] == size
        np.testing.assert_array_equal(sample.image, reader.image(sample.id))
        np.testing.assert_array_equal(sample.image, other.image)
        assert list(sample.labels) == tasks
        for task in tasks:
            np.testing.assert_array_equal(sample.labels[task], reader.label(sample.id, task))
            np.testing.assert_array_equal(sample.labels[task], other.labels[task])
    with pytest.raises(IndexError):
        scenes[len(scenes)]
    assert scenes[-1].id == reader.ids[-1]


def test_a_second_opening_decodes_nothing(nyud_root, monkeypatch):
    first = nyud_scenes(nyud_root)
    monkeypatch.setattr(cache, "row", None)  # would fail if called
    assert nyud_scenes(nyud_root).fingerprint == first.fingerprint


def test_limit_takes_the_first_scenes(nyud_root):
    scenes = nyud_scenes(nyud_root, limit=1)
    assert scenes.ids == ("0002",)
    assert scenes.fingerprint != nyud_scenes(nyud_root).fingerprint


@pytest.mark.parametrize("file", ["images/0009.png", "segmentation/0009.png", "depth/0009.npy"])
def test_a_changed_file_is_noticed(nyud_root, private_cache, file):
    before = nyud_scenes(nyud_root)
    path = nyud_root / file
    (path.with_name(path.name.replace("0009", "0002"))).replace(path.with_name("other" + path.suffix))
    path.with_name("other" + path.suffix).rename(path)  # now 0009 holds what 0002 held
    path.with_name(path.name.replace("0009", "0002")).write_bytes(path.read_bytes())
    after = nyud_scenes(nyud_root)
    assert after.fingerprint != before.fingerprint
    assert len(arrow_files(private_cache)) == 2


def test_the_fingerprint_is_the_data_s_not_the_machine_s(nyud_root, private_cache):
    before = nyud_scenes(nyud_root).fingerprint
    for path in nyud_root.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    moved = nyud_root.rename(nyud_root.with_name("elsewhere"))
    assert nyud_scenes(moved).fingerprint == before
    assert len(arrow_files(private_cache)) == 2  # but it was decoded again: the files might have changed
    assert nyud_scenes(moved, tasks=["depth"]).fingerprint != before
    assert nyud_scenes(moved, split="train").fingerprint != before


def _count_and_open(root, counter, barrier):
    original = cache.row

    def counting(*arguments):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.05)
        return original(*arguments)

    cache.row = counting
    barrier.wait()
    assert len(nyud_scenes(root)) == 2


def test_two_processes_build_once(nyud_root, private_cache):
    context = multiprocessing.get_context("fork")
    counter, barrier = context.Value("i", 0), context.Barrier(2)
    both = [context.Process(target=_count_and_open, args=(nyud_root, counter, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert counter.value == 2  # two scenes, each decoded once
    assert len(arrow_files(private_cache)) == 1


def _open_and_hang(root, started):
    def hang(*_):
        started.set()
        time.sleep(60)

    cache.row = hang
    nyud_scenes(root)


def test_a_killed_build_leaves_nothing_half_made(nyud_root, private_cache):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_open_and_hang, args=(nyud_root, started))
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert arrow_files(private_cache) == []
    assert len(nyud_scenes(nyud_root)) == 2
    assert not list((private_cache / "scenes").glob("*.partial"))


def test_a_failed_build_leaves_nothing_and_names_the_file(nyud_root, private_cache):
    (nyud_root / "depth/0009.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"depth/0009\.npy"):
        nyud_scenes(nyud_root)
    assert not [path for path in (private_cache / "scenes").iterdir() if path.suffix not in (".lock", ".sources")]
    assert nyud_scenes(nyud_root, tasks=["semseg"]).ids == ("0002", "0009")


def test_a_file_that_is_not_needed_may_be_absent(nyud_root):
    (nyud_root / "depth/0009.npy").unlink()
    assert len(nyud_scenes(nyud_root, tasks=["semseg"])) == 2


def test_the_data_folder_is_never_written(mini):
    dataset, root = mini
    listing = lambda: sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))  # noqa: E731
    before = listing()
    open_scenes(dataset, dataset.reader(root, "val"), [task.name for task in dataset.tasks])
    assert listing() == before


def test_a_read_only_data_folder_is_enough(pascal_root):
    (pascal_root / "ImageSets/Parts/val.txt").unlink()
    for path in [*pascal_root.rglob("*"), pascal_root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    dataset = PascalContext()
    try:
        scenes = open_scenes(dataset, dataset.reader(pascal_root, "val"), ["parts", "normals"])
        assert scenes[0].labels["parts"].any()
    finally:
        for path in [pascal_root, *pascal_root.rglob("*")]:
            path.chmod(0o755)


def test_an_unusable_cache_folder_is_named(nyud_root, private_cache, monkeypatch):
    private_cache.write_text("in the way")
    with pytest.raises(UsageError, match="HARNESS_CACHE"):
        nyud_scenes(nyud_root)


def test_two_processes_decode_in_order(nyud_root, monkeypatch):
    alone = nyud_scenes(nyud_root, limit=2)
    monkeypatch.setattr(parallel, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    with parallel.mapped(str.upper, list("abcdefghij")) as letters:
        assert "".join(letters) == "ABCDEFGHIJ"
    (Path(os.environ["HARNESS_CACHE"]) / "scenes").rename(nyud_root / "old")
    assert nyud_scenes(nyud_root, limit=2).fingerprint == alone.fingerprint


def test_progress_is_silent_off_a_terminal(nyud_root, capfd):
    nyud_scenes(nyud_root)
    assert capfd.readouterr() == ("", "")


def pascal_scenes(root):
    dataset = PascalContext()
    return open_scenes(dataset, dataset.reader(root, "val"), ["semseg", "parts"])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_evaluation_sees_every_scene_once_in_order(pascal_root, batch_size):
    scenes = pascal_scenes(pascal_root)
    batches = list(eval_batches(scenes, Pad((48, 48)), batch_size))
    assert [image_id for batch in batches for image_id in batch.ids] == list(scenes.ids)
    assert [len(batch.ids) for batch in batches][:-1] == [batch_size] * (len(batches) - 1)
    assert batches[0].sizes[0] == (32, 44)
    assert batches[0].offsets[0] == (8, 2)
    assert batches[0].images.dtype == torch.float32
    assert batches[0].labels["parts"].shape == (min(3, batch_size), 1, 48, 48)


def test_labels_of_different_sizes_never_share_a_batch(pascal_root):
    for image_id in ("2008_000002", "2008_000003"):  # sizes of the scenes: A, A, B
        for folder, suffix in (("JPEGImages", "jpg"), ("human_parts", "mat")):
            source = "2008_000001" if image_id == "2008_000002" else "2008_000003"
            target = pascal_root / folder / f"{image_id}.{suffix}"
            target.write_bytes((pascal_root / folder / f"{source}.{suffix}").read_bytes())
    (pascal_root / "semseg/VOC12/2008_000002.png").write_bytes(
        (pascal_root / "semseg/VOC12/2008_000001.png").read_bytes()
    )
    batches = list(eval_batches(pascal_scenes(pascal_root), Resize((48, 48)), 8))
    assert [batch.ids for batch in batches] == [["2008_000001", "2008_000002"], ["2008_000003"]]
    assert batches[0].labels["semseg"].shape == (2, 1, 32, 44)
    assert batches[1].labels["semseg"].shape == (1, 1, 36, 40)


def run(scenes, seed=3, start=0, stop=6, workers=0, batch_size=2):
    transform = TrainTransform((40, 48), Augmentation())
    return list(train_batches(scenes, transform, batch_size, seed, start, stop, workers))


def test_a_resumed_run_sees_what_it_would_have_seen(pascal_root):
    scenes = pascal_scenes(pascal_root)
    whole = run(scenes)
    all_same(run(scenes, start=4), whole[4:])
    all_same(run(scenes), whole)
    assert run(scenes, start=6) == []
    assert not torch.equal(run(scenes, seed=4)[0].images, whole[0].images)


def test_each_epoch_sees_every_scene_once_in_a_new_order(pascal_root):
    scenes = pascal_scenes(pascal_root)
    drawn = [image_id for batch in run(scenes, stop=30) for image_id in batch.ids]
    epochs = [tuple(drawn[first : first + 3]) for first in range(0, 60, 3)]
    assert all(sorted(epoch) == sorted(scenes.ids) for epoch in epochs)
    assert len(set(epochs)) > 3


def test_batches_may_be_larger_than_the_split(pascal_root):
    (batch,) = run(pascal_scenes(pascal_root), stop=1, batch_size=8)
    assert len(batch.ids) == 8
    first, again = (k for k, image_id in enumerate(batch.ids[:6]) if image_id == batch.ids[0])
    assert not torch.equal(batch.images[first], batch.images[again])  # augmented anew


def test_workers_change_nothing(pascal_root):
    scenes = pascal_scenes(pascal_root)
    state = torch.random.get_rng_state()
    all_same(run(scenes, workers=2), run(scenes))
    transform = Pad((48, 48))
    all_same(list(eval_batches(scenes, transform, 2, workers=2)), list(eval_batches(scenes, transform, 2)))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_reach_the_user_as_one_line(pascal_root, workers):
    scenes = pascal_scenes(pascal_root)
    (pascal_root / "JPEGImages/2008_000002.jpg").unlink()
    with pytest.raises(DataError) as caught:
        list(eval_batches(scenes, Pad((48, 48)), 1, workers=workers))
    assert str(caught.value).startswith(str(pascal_root / "JPEGImages/2008_000002.jpg"))
    assert "Traceback" not in str(caught.value)


def test_too_little_shared_memory_is_one_line(pascal_root, monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(MethodError, match=r"--workers 0.*--shm-size") as caught:
        run(pascal_scenes(pascal_root), workers=2)
    assert caught.value.exit_code == 4


def test_no_room_for_semaphores_is_one_line(pascal_root, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", full)
    with pytest.raises(MethodError, match=r"/dev/shm.*--shm-size") as caught:
        list(eval_batches(pascal_scenes(pascal_root), Pad((48, 48)), 1, workers=1))
    assert caught.value.exit_code == 4


class _Deadly(Pad):
    def __call__(self, sample):
        if sample.id == "2008_000003":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(sample)


def test_a_loader_process_that_dies_is_one_line(pascal_root):
    with pytest.raises(MethodError, match=r"process that loads images died.*--workers 0"):
        list(eval_batches(pascal_scenes(pascal_root), _Deadly((48, 48)), 1, workers=1))
    assert loader_fault(RuntimeError("out of memory")) is None
