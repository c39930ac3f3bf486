"""Opening and verifying folders that are not quite what was published: said, and used as far as they go."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner
from PIL import Image

from harness.cli import data as command
from harness.data.card import id_list_md5, load_card, overlap_fault, split_fault
from harness.data.open import open_data
from harness.data.verify import verify
from harness.datasets.nyud import NYUD, NYUDReader
from harness.datasets.nyud_synth import NYUDSynth
from harness.datasets.pascal_context import PascalContext, PascalContextReader
from harness.errors import DataError
from harness.protocol import Protocol


def invoke(*arguments):
    return CliRunner().invoke(command.data, [str(argument) for argument in arguments])


def opened(dataset, root, tasks=(), training=True, **options):
    return open_data(dataset, root, tasks, Protocol(), None, training, **options)


# Lists.


def test_a_short_list_is_named_and_counts_against_the_published_one(nyud_root):
    data = opened(NYUD(), nyud_root)
    (val,) = [warning for warning in data.warnings if warning.startswith("val:")]
    assert "not the published split: 2 of 654 ids, other md5" in val
    assert id_list_md5(["0002", "0009"]) in val
    assert "a4a87806cd3f18739cacbe95a1b7e043" in val
    assert (data.info().n_evaluated, data.info().n_expected) == (2, 654)
    (train,) = [warning for warning in data.warnings if warning.startswith("train: the list")]
    assert "131cd314bc4c02c81b534b76b227587d" in train


def test_published_ids_are_recognised_as_a_list_and_where_that_is_unknown_as_a_set(monkeypatch):
    ids = ["b", "a", "c"]
    card = load_card("nyud")
    known = card.splits["val"].model_copy(update={"count": 3, "md5": id_list_md5(ids)})
    sorted_only = known.model_copy(update={"md5": None, "sorted_md5": id_list_md5(sorted(ids))})
    card = card.model_copy(update={"splits": {"val": known, "train": sorted_only}})
    assert split_fault(card, "val", ids) is None
    assert "not the published split: 3 of 3 ids" in split_fault(card, "val", ["a", "b", "d"])
    for order in (ids, sorted(ids)):
        assert split_fault(card, "train", order) is None
    assert "other md5" in split_fault(card, "train", ["a", "b", "d"])
    assert "2 of 3" in split_fault(card, "train", ["a", "b"])
    assert split_fault(load_card("nyud-synth"), "val", ids) is None


def test_a_sorted_list_of_published_ids_is_another_order():
    ids = ["a", "b", "c"]
    card = load_card("nyud")
    known = card.splits["val"].model_copy(update={"count": 3, "md5": id_list_md5(ids)})
    card = card.model_copy(update={"splits": {"val": known}})
    assert "another order" in split_fault(card, "val", ["c", "a", "b"])


def test_training_on_validation_images_is_an_error_of_the_folder_and_a_warning_of_a_run(nyud_root):
    (nyud_root / "gt_sets/train.txt").write_text("0001\n0009\n")
    assert any("1 of 2 training ids are validation ids too (0009)" in line for line in verify(NYUD(), nyud_root))
    assert any("1 of 2 training ids" in warning for warning in opened(NYUD(), nyud_root).warnings)
    assert not any("training ids" in warning for warning in opened(NYUD(), nyud_root, training=False).warnings)
    assert overlap_fault(list("abcdef"), list("bcdefg")).count(" and 2 more") == 1
    assert overlap_fault(["a"], ["b"]) is None


# Missing folders, and names as other systems write them.


def test_tasks_whose_files_are_there_can_be_used(nyud_root):
    shutil.rmtree(nyud_root / "edge")
    data = opened(NYUD(), nyud_root, ["semseg", "depth"])
    assert data.problem.names == ("semseg", "depth")
    with pytest.raises(DataError, match=r"boundary has no labels, the folder edge/ .*-t semseg -t depth -t normals"):
        opened(NYUD(), nyud_root)
    rest = opened(NYUD(), nyud_root, skip_absent=True)
    assert rest.problem.names == ("semseg", "depth", "normals")
    assert rest.absent.keys() == {"boundary"}
    with pytest.raises(DataError, match="edge/"):
        opened(NYUD(), nyud_root, ["boundary"], skip_absent=True)


@pytest.mark.parametrize(
    ("folder", "absent"),
    [
        ("pascal-context", {"normals", "boundary"}),
        ("human_parts", {"parts"}),
        ("semseg", {"semseg"}),
        ("sal_distill", {"saliency"}),
    ],
)
def test_a_folder_serves_the_tasks_that_need_no_other(pascal_root, folder, absent):
    shutil.rmtree(pascal_root / folder)
    (pascal_root / folder).mkdir()  # empty, as an archive that was unpacked in part leaves it
    reader = PascalContextReader(pascal_root, "val")
    tasks = [task.name for task in PascalContext.tasks]
    assert reader.absent(tasks).keys() == absent
    for task in set(tasks) - absent:
        reader.label(reader.ids[0], task)


def test_info_and_verify_say_which_tasks_a_folder_serves(nyud_root):
    shutil.rmtree(nyud_root / "edge")
    for name in ("info", "verify"):
        result = invoke(name, "nyud", "--data-root", nyud_root)
        assert "tasks that this folder can serve: semseg, depth, normals\n" in result.stdout
        assert "not boundary: the folder edge/ is missing" in result.stdout
    found = json.loads(invoke("info", "nyud", "--data-root", nyud_root, "-f", "json").stdout)["found"]
    assert found["tasks"] == {
        "semseg": None,
        "depth": None,
        "normals": None,
        "boundary": "the folder edge/ is missing",
    }


def test_info_names_each_link_once(tmp_path):
    text = invoke("info", "nyud", "--data-root", tmp_path).stdout
    assert text.count("NYUDv2.tar.gz") == 2  # the name of the file, and the end of one of its two links
    assert text.count("14EAEMXmd3zs2hIMY63UhHPSFPDAkiTzw") == 1
    assert str(tmp_path / "NYUDv2") in text


def test_info_survives_a_folder_without_lists_and_with_broken_images(nyud_root):
    (nyud_root / "images/0009.png").write_bytes(b"")
    (nyud_root / "gt_sets/train.txt").unlink()
    text = invoke("info", "nyud", "--data-root", nyud_root).stdout
    assert "train.txt: the file is missing" in text
    assert "unreadable (1)" in text


@pytest.mark.parametrize("folder", ["images", "segmentation", "depth", "normals", "edge"])
def test_suffixes_in_capitals_are_read(nyud_root, folder):
    before = NYUDReader(nyud_root, "val")
    wanted = [before.image("0002"), *(before.label("0002", task.name) for task in NYUD.tasks)]
    for path in list((nyud_root / folder).iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    reader = NYUDReader(nyud_root, "val")
    assert reader.build == before.build
    for one, other in zip(
        [reader.image("0002"), *(reader.label("0002", t.name) for t in NYUD.tasks)], wanted, strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_capitals_are_read_in_pascal_context_too(pascal_root):
    before = PascalContextReader(pascal_root, "val").label("2008_000001", "normals")
    for folder in ("JPEGImages", "normals_distill", "pascal-context/trainval"):
        for path in list((pascal_root / folder).iterdir()):
            path.rename(path.with_suffix(path.suffix.upper()))
    np.testing.assert_array_equal(PascalContextReader(pascal_root, "val").label("2008_000001", "normals"), before)


def test_a_folder_of_other_files_says_what_it_holds(nyud_root):
    for path in list((nyud_root / "images").iterdir()):
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(DataError, match=r"images/ holds no \.png or \.jpg file; it holds '0001\.webp' and 2 more"):
        NYUDReader(nyud_root, "val")


# Images and labels.


def test_an_image_larger_than_the_input_is_named_before_anything_is_trained(pascal_root):
    image_id = "2008_000002"
    for path in pascal_root.rglob(f"{image_id}.*"):
        if path.suffix in (".jpg", ".png"):
            Image.open(path).resize((480, 640), Image.Resampling.NEAREST).save(path)
    label_map = np.zeros((640, 480), np.uint16)
    scipy.io.savemat(pascal_root / "pascal-context/trainval" / f"{image_id}.mat", {"LabelMap": label_map})
    words = rf"{image_id}\.jpg: an image of 640x480 does not fit the input of 512x512"
    with pytest.raises(DataError, match=words):
        opened(PascalContext(), pascal_root, ["saliency"])
    assert any("640x480 does not fit" in line and image_id in line for line in verify(PascalContext(), pascal_root))
    resized = open_data(PascalContext(), pascal_root, ["saliency"], Protocol(geometry="resize"), None, True)
    assert len(resized.val) == 3
    assert opened(PascalContext(), pascal_root, ["saliency"], input_size=(640, 640)).problem.input_size == (640, 640)


def test_an_input_smaller_than_the_images_is_refused_with_a_file(nyud_root):
    with pytest.raises(DataError, match=r"0002\.png: an image of 34x45 does not fit the input of 32x48"):
        opened(NYUD(), nyud_root, ["depth"], input_size=(32, 48))


def test_notes_on_boundaries_stand_where_boundaries_are_scored(pascal_root):
    notes = {
        tasks: any(
            "boundaries are scored" in warning for warning in opened(PascalContext(), pascal_root, tasks).warnings
        )
        for tasks in [("saliency",), ("boundary",), ("semseg", "boundary"), ()]
    }
    assert notes == {("saliency",): False, ("boundary",): True, ("semseg", "boundary"): True, (): True}


def problems_of(root, words):
    return [line for line in verify(NYUD(), root) if words in line]


def rescale(root, change):
    for path in (root / "depth").glob("*.npy"):
        np.save(path, change(np.load(path)))


def test_depth_in_millimetres_is_named_by_verify_and_by_the_reader(nyud_root):
    rescale(nyud_root, lambda depth: (depth * 1000).astype(np.uint16))
    assert len(problems_of(nyud_root, "they look like millimetres")) == 3  # one of training, two of validation
    with pytest.raises(DataError, match=r"0002\.npy: median .* millimetres"):
        opened(NYUD(), nyud_root, ["depth"], training=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda depth: depth / 20, "normalised"),
        (lambda depth: np.rint(depth / depth.max() * 60).astype(np.uint8), "8-bit levels"),
        (lambda depth: depth * 0, "no valid pixel"),
    ],
)
def test_depth_in_other_units_is_named_by_verify_and_warned_of_in_a_run(nyud_root, change, words):
    rescale(nyud_root, change)
    assert problems_of(nyud_root, words)
    assert any(words in warning for warning in opened(NYUD(), nyud_root, ["depth"]).warnings)


def test_normals_of_one_channel_are_named(nyud_root):
    for path in (nyud_root / "normals").iterdir():
        Image.open(path).convert("L").save(path)
    assert len(problems_of(nyud_root, "holds one channel")) == 3
    for path in (nyud_root / "normals").iterdir():
        Image.open(path).convert("RGB").save(path)
    assert problems_of(nyud_root, "three channels")


def test_edges_of_the_other_encoding_are_named(nyud_root):
    for path in (nyud_root / "edge").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    assert len(problems_of(nyud_root, "edges are 0 and 255 in a .png file, this one holds 1")) == 3


def test_saliency_of_zeros_and_ones_is_named(pascal_root):
    for path in (pascal_root / "sal_distill").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)
    assert [line for line in verify(PascalContext(), pascal_root) if "nothing is salient" in line]
    assert any("nothing is salient" in warning for warning in opened(PascalContext(), pascal_root).warnings)


@pytest.mark.parametrize("mini", ["nyud", "pascal-context"], indirect=True)
def test_sound_labels_are_left_alone(mini):
    dataset, root = mini
    lists = ("the published split", "training ids", "boundaries are scored")
    assert not [w for w in opened(dataset, root).warnings if not any(words in w for words in lists)]
    problems = [line for line in verify(dataset, root) if not any(words in line for words in lists)]
    assert problems == []


def test_a_crashing_decoder_is_one_problem_of_many(nyud_root, monkeypatch):
    monkeypatch.setattr("harness.data.parallel._WORTH_PROCESSES", 1)
    monkeypatch.setattr("harness.data.parallel.usable_cores", lambda: 2)
    import os

    original = NYUDReader.image
    monkeypatch.setattr(NYUDReader, "image", lambda self, name: os._exit(9) if name == "0002" else original(self, name))
    (nyud_root / "depth/0009.npy").unlink()
    problems = [line for line in verify(NYUD(), nyud_root) if "published" not in line]
    assert any("0002: the process that read it died" in line for line in problems)
    assert any("depth/0009.npy" in line for line in problems)


def test_the_default_places_need_a_home_only_where_it_is_used(monkeypatch):
    from harness.data.locate import data_home
    from harness.errors import UsageError
    from harness.files import cache_home

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    monkeypatch.delenv("HARNESS_CACHE")
    for place, name in ((cache_home, "HARNESS_CACHE"), (data_home, "HARNESS_CACHE")):
        with pytest.raises(UsageError, match=name):
            place()


def test_prepare_takes_the_tasks_that_are_there(nyud_root):
    shutil.rmtree(nyud_root / "edge")
    result = invoke("prepare", "nyud", "--data-root", nyud_root)
    assert result.exception is None
    assert "boundary is not prepared: the folder edge/ is missing" in result.stderr
    assert result.stdout.count("arrow") == 2


def test_a_file_with_a_hole_is_refused_by_its_size(nyud_root):
    with (nyud_root / "depth/0002.npy").open("r+b") as file:
        file.truncate(1 << 36)
    assert len([line for line in verify(NYUD(), nyud_root) if "bytes are too many" in line]) == 1
    with pytest.raises(DataError, match=r"0002\.npy: 68719476736 bytes are too many"):
        opened(NYUD(), nyud_root, ["depth"], training=False)


def test_a_folder_with_an_impossible_name_is_not_found(tmp_path):
    for dataset in (NYUD(), NYUDSynth()):
        with pytest.raises(DataError, match="gt_sets/"):
            dataset.root(tmp_path / ("n" * 300))


def test_a_folder_of_labels_that_cannot_be_read_is_one_that_is_missing(nyud_root, monkeypatch):
    original = Path.is_dir

    def is_dir(path):
        if path.name == "edge":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    absent = NYUDReader(nyud_root, "val").absent(["depth", "boundary"])
    assert absent == {"boundary": "the folder edge/ cannot be read (Permission denied)"}
