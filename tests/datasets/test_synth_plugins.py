"""The plug-ins: where their folders are, what they refuse, how large their inputs are."""

import resource
from pathlib import Path

import pytest

from harness.data.dataset import SyntheticDataset
from harness.datasets.nyud import NYUD
from harness.datasets.nyud_synth import NYUDSynth
from harness.datasets.pascal_context import PascalContext
from harness.datasets.pascal_synth import PascalSynth
from harness.datasets.synth import nyud_tree, pascal_tree
from harness.datasets.synth.default import Plan
from harness.errors import DataError, UsageError

pytestmark = pytest.mark.xdist_group("scenes")  # its tests share what they are made from


@pytest.fixture
def tiny(monkeypatch):
    """Make the default sets small."""
    monkeypatch.setattr("harness.datasets.synth.default.Rendered.plan", Plan(2, 1))


REAL = {"nyud-synth": NYUD, "pascal-synth": PascalContext}
BOTH = pytest.mark.parametrize("dataset", [NYUDSynth(), PascalSynth()], ids=lambda d: d.name)


@BOTH
def test_the_default_set_is_rendered_once_in_the_cache(dataset, tiny, private_cache):
    root = dataset.root(None)
    assert private_cache in root.parents
    assert f"{dataset.name}-v" in root.name
    assert len(dataset.reader(root, "train").ids) == 2
    written = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert dataset.root(None) == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == written


@BOTH
def test_a_given_folder_is_used_itself_or_by_name(dataset, tmp_path):
    inner = tmp_path / dataset.name
    dataset.write(inner, seed=1, train=1, val=1, size=(40, 56))
    assert dataset.root(inner) == inner
    assert dataset.root(tmp_path) == inner


@BOTH
def test_a_wrong_folder_says_how_to_write_one(dataset, tmp_path):
    with pytest.raises(DataError, match=f"harness data synth {dataset.name}"):
        dataset.root(tmp_path)


@BOTH
def test_labels_are_those_of_the_real_data_set(dataset):
    assert isinstance(dataset, SyntheticDataset)
    assert dataset.synthetic
    real = REAL[dataset.name]
    assert isinstance(dataset, real)
    assert not real.synthetic
    assert [(task.name, task.class_names) for task in dataset.tasks] == [
        (task.name, task.class_names) for task in real.tasks
    ]
    assert dataset.card.name == dataset.name


def test_input_sizes(rooms, snapshots):
    assert NYUDSynth().input_size(rooms[0]) == (112, 144) == NYUDSynth.nominal_input_size
    assert PascalSynth().input_size(snapshots[0]) == (128, 128) == PascalSynth.nominal_input_size


@pytest.mark.parametrize("size", [(33, 47), (64, 48)])
def test_any_size_will_do(size, tmp_path):
    NYUDSynth().write(tmp_path / "a", seed=0, train=1, val=1, size=size)
    reader = NYUDSynth().reader(tmp_path / "a", "val")
    for task in ("semseg", "depth", "normals", "boundary"):
        assert reader.label(reader.ids[0], task).shape[:2] == size


def test_snapshots_refuse_what_the_protocol_cannot_hold(tmp_path):
    with pytest.raises(UsageError, match="512"):
        PascalSynth().write(tmp_path / "a", seed=0, train=1, val=1, size=(400, 600))
    with pytest.raises(UsageError, match="clips"):
        PascalSynth().write(tmp_path / "a", seed=0, train=1, val=1, clips=1)
    assert not (tmp_path / "a").exists()


def test_depth_holes_are_an_option(tmp_path):
    names = NYUDSynth().card.tasks["semseg"]
    nyud_tree.write_nyud(tmp_path / "a", names, seed=0, train=4, val=1, depth_holes=True)
    reader = NYUDSynth().reader(tmp_path / "a", "train")
    assert any((reader.label(i, "depth") == 0).any() for i in reader.ids)


def test_every_voc_class_has_a_label_map_id():
    assert set(PascalSynth().card.tasks["semseg"][1:]) <= set(pascal_tree.LABEL_MAP_IDS)
    assert len(set(pascal_tree.LABEL_MAP_IDS.values())) == len(pascal_tree.LABEL_MAP_IDS)


def test_places_that_cannot_hold_a_set_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="HARNESS_CACHE"):
        NYUDSynth().root(None)
    for place in (tmp_path / "file" / "below", tmp_path / ("n" * 300), Path("/proc/nowhere")):
        with pytest.raises(UsageError, match="cannot be written"):
            NYUDSynth().write(place, seed=0, train=1, val=1, size=(24, 32))
    with pytest.raises(UsageError, match="--data-root"):
        NYUDSynth().root(Path("~nobody-of-this-name/data"))


def test_a_cache_that_fills_while_rendering_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # writing beyond fails as on a full disk
    try:
        with pytest.raises(UsageError, match="HARNESS_CACHE"):
            NYUDSynth().root(None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in (tmp_path / "cache/synth").iterdir()] == [".lock"]
