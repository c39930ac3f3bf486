"""What a protocol comes to on a data set: label space, images, geometry; and that tables keep protocols apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.data.cache import open_scenes
from harness.data.card import SubsetCard, find_subset, id_list_md5
from harness.data.files import read_indices
from harness.data.open import OpenedData, open_data
from harness.datasets.nyud import NYUD
from harness.datasets.nyud_synth import NYUDSynth
from harness.datasets.pascal_context import PascalContext
from harness.datasets.pascal_synth import PascalSynth
from harness.problem import BOUNDARY_TRUTH
from harness.protocol import Protocol

ASTMT = Protocol.profile("astmt")


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the lists of the tiny sets with no published split."""
    for cls in (NYUD, PascalContext):
        monkeypatch.setattr(cls, "card", cls().card.model_copy(update={"splits": None}))


def opened(dataset, root: Path, protocol: Protocol) -> OpenedData:
    return open_data(dataset, root, (), protocol, None, training=False)


@pytest.mark.parametrize("cls", [NYUD, NYUDSynth])
def test_41_classes_begin_with_the_background(cls: type[NYUD]) -> None:
    plain, posed = cls(), cls().under(ASTMT)
    assert plain.under(Protocol()) is plain
    before, after = plain.tasks[0], posed.tasks[0]
    assert (before.num_classes, after.num_classes) == (40, 41)
    assert after.class_names == ("background", *before.class_names)
    assert posed.tasks[1:] == plain.tasks[1:]
    assert cls().tasks[0].num_classes == 40, "other objects are left as they were"


def test_41_classes_are_the_stored_values_and_no_pixel_is_ignored(golden: Path) -> None:
    root = golden / "mini_NYUDv2"
    reader = NYUD().under(ASTMT).reader(root, "val")
    stored = read_indices(root / "segmentation" / f"{reader.ids[0]}.png")
    assert (stored == 0).any()
    np.testing.assert_array_equal(reader.label(reader.ids[0], "semseg"), stored)
    forty = NYUD().reader(root, "val").label(reader.ids[0], "semseg")
    np.testing.assert_array_equal(forty, np.where(stored == 0, 255, stored - 1))


def test_the_cache_keeps_40_and_41_classes_apart(golden: Path) -> None:
    root = golden / "mini_NYUDv2"
    scenes = []
    for dataset in (NYUD(), NYUD().under(ASTMT)):
        scenes.append(open_scenes(dataset, dataset.reader(root, "val"), ["semseg"]))
    forty, with_background = scenes
    assert forty.path != with_background.path
    assert forty.fingerprint != with_background.fingerprint
    assert 255 in forty[0].labels["semseg"]
    assert 255 not in with_background[0].labels["semseg"]


def test_a_subset_is_recognised_by_its_ids_in_whatever_list(tmp_path: Path) -> None:
    ids = ["2008_000002", "2008_000007"]
    subset = SubsetCard(folder="ImageSets", count=2, md5=id_list_md5(ids))
    assert find_subset(tmp_path, subset) is None
    place = tmp_path / "ImageSets" / "Anywhere"
    place.mkdir(parents=True)
    (place / "other.txt").write_text("2008_000002\n2008_000003\n")
    (place / "broken.txt").write_bytes(b"\xff\xfe\x00")
    assert find_subset(tmp_path, subset) is None
    (place / "new.txt").write_text("2008_000002\r\n2008_000007")
    assert find_subset(tmp_path, subset) == frozenset(ids)


def test_the_card_holds_the_published_half() -> None:
    half = PascalContext().card.boundary_subset
    assert half is not None
    assert (half.count, half.md5) == (2498, "41334d2ec0747b1291848c25b7affe84")
    assert PascalSynth().card.boundary_subset is None, "rendered scenes have no published half"


@pytest.fixture
def halved(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a PASCAL-Context folder with a list of two of its three images that its card knows."""
    root = Path(shutil.copytree(golden / "mini_PASCALContext", tmp_path / "PASCALContext"))
    ids = PascalContext().reader(root, "val").ids[1:]
    card = PascalContext().card.model_copy(
        update={"boundary_subset": SubsetCard(folder="ImageSets", count=len(ids), md5=id_list_md5(ids))}
    )
    monkeypatch.setattr(PascalContext, "card", card)
    (root / "ImageSets" / "test_new.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    return root


@pytest.mark.usefixtures("unpublished")
def test_outside_the_half_boundaries_are_ignored_and_nothing_else(halved: Path) -> None:
    data = opened(PascalContext(), halved, Protocol())
    assert data.protocol == Protocol()
    assert data.warnings == []
    first, second, _ = (data.transform(data.val[index]) for index in range(3))
    assert (first.labels[BOUNDARY_TRUTH] == 255).all()
    assert (second.labels[BOUNDARY_TRUTH] != 255).any()
    assert (first.labels["semseg"] != 255).any()
    whole = opened(PascalContext(), halved, Protocol(boundary_set="val"))
    assert (whole.transform(whole.val[0]).labels[BOUNDARY_TRUTH] != 255).any()
    assert whole.protocol.boundary_set == "val"
    assert whole.warnings == []


@pytest.mark.usefixtures("unpublished")
def test_without_its_list_the_whole_split_is_scored_and_the_protocol_says_so(golden: Path) -> None:
    data = opened(PascalContext(), golden / "mini_PASCALContext", Protocol())
    assert data.protocol == Protocol(boundary_set="val")
    [warning] = data.warnings
    assert "all of val" in warning
    assert "41334d2ec0747b1291848c25b7affe84" in warning
    assert (data.transform(data.val[0]).labels[BOUNDARY_TRUTH] != 255).any()


@pytest.mark.usefixtures("unpublished")
def test_nyud_scores_all_of_val_without_a_word(golden: Path) -> None:
    data = opened(NYUD(), golden / "mini_NYUDv2", Protocol())
    assert data.protocol == Protocol(boundary_set="val")
    assert data.warnings == []


@pytest.mark.usefixtures("unpublished")
def test_the_sharing_papers_crop_holds_on_nyud_and_pascal_context_is_padded(golden: Path) -> None:
    share = Protocol.profile("share")
    nyud = opened(NYUD(), golden / "mini_NYUDv2", share)
    assert nyud.protocol.geometry == "crop"
    assert nyud.problem.input_size == (32, 32)
    pascal = opened(PascalContext(), golden / "mini_PASCALContext", share)
    assert pascal.protocol.geometry == "pad"
    assert pascal.protocol.semseg_absent == "nanmean"
    assert pascal.problem.input_size == opened(PascalContext(), pascal.val.reader.root, Protocol()).problem.input_size
    assert "padded" in pascal.warnings[0]
