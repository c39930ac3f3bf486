"""What lies on disk: names, types and values of the real layouts, read as their tools read them."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy.ndimage import binary_dilation, laplace

from harness.data.card import load_card
from harness.datasets.synth.files import voc_palette
from harness.datasets.synth.labels import encode_normals
from harness.datasets.synth.pascal_tree import LABEL_MAP_IDS

pytestmark = pytest.mark.xdist_group("scenes")  # its tests share what they are made from


@pytest.fixture
def room_folder(rooms) -> Path:
    return rooms[0].root


@pytest.fixture
def snapshot_folder(snapshots) -> Path:
    return snapshots[0].root


def png(path):
    return np.array(Image.open(path))


def mat(path, name):
    return scipy.io.loadmat(path)[name]


def test_rooms_have_the_files_and_types_of_nyud(room_folder):
    expected = {"images": ".png", "edge": ".png", "segmentation": ".png", "normals": ".png", "depth": ".npy"}
    ids = (room_folder / "gt_sets/train.txt").read_text().split() + (
        room_folder / "gt_sets/val.txt"
    ).read_text().split()
    for folder, suffix in expected.items():
        assert sorted(p.name for p in (room_folder / folder).iterdir()) == [f"{i}{suffix}" for i in sorted(ids)]
    first = ids[0]
    assert first == "0001"
    assert png(room_folder / "images/0001.png").shape == (106, 140, 3)
    assert set(np.unique(png(room_folder / "edge/0001.png"))) == {0, 255}
    segmentation = png(room_folder / "segmentation/0001.png")
    assert segmentation.dtype == np.uint8
    assert segmentation.max() <= 40
    depth = np.load(room_folder / "depth/0001.npy")
    assert depth.dtype == np.float32
    assert 0.5 <= depth.min() <= depth.max() <= 9.9


def test_both_sets_say_where_they_come_from(room_folder, snapshot_folder):
    for folder in (room_folder, snapshot_folder):
        meta = json.loads((folder / "meta.json").read_text())
        assert meta["seed"] == 0
        assert meta["generator"] >= 1


def test_room_normals_are_unit_vectors_that_face_the_camera(rooms):
    normals = rooms[0].label("0003", "normals")
    assert np.abs(np.linalg.norm(normals, axis=2) - 1).max() < 0.01
    # A surface that is seen faces the camera along its ray; along the axis nearly so.
    assert (normals[..., 2] < 0.55).all()
    assert (normals[..., 2] < 0).mean() > 0.6


def test_some_room_pixels_are_unlabelled(rooms):
    shares = [(rooms[0].label(i, "semseg") == 255).mean() for i in rooms[0].ids]
    assert 0.002 < np.mean(shares) < 0.05


def test_normals_survive_eight_bits():
    rng = np.random.default_rng(0)
    n = rng.normal(size=(50, 50, 3))
    n /= np.linalg.norm(n, axis=2, keepdims=True)
    back = 2 * encode_normals(n).astype(float) / 255 - 1
    angle = 2 * np.arctan2(np.linalg.norm(n - back, axis=2), np.linalg.norm(n + back, axis=2))
    assert np.rad2deg(angle).mean() < 0.4


def test_snapshots_are_small_varied_jpegs(snapshots):
    reader = snapshots[0]
    sizes = {reader.size(i) for i in reader.ids}
    assert len(sizes) >= 5
    assert any(h % 2 or w % 2 for h, w in sizes)
    assert max(max(size) for size in sizes) == 125
    assert Image.open(reader.files("2008_000001")["image"]).format == "JPEG"
    assert (reader.root / "ImageSets/Context/val.txt").read_text().startswith("2009_000001\n2009_000002\n")


def test_half_of_the_snapshots_lie_in_each_semseg_folder(snapshot_folder):
    voc = {p.stem for p in (snapshot_folder / "semseg/VOC12").iterdir()}
    other = {p.stem for p in (snapshot_folder / "semseg/pascal-context").iterdir()}
    assert not voc & other
    assert abs(len(voc) - len(other)) <= 2
    assert all(png(p).max() == 255 for p in (snapshot_folder / "semseg/VOC12").iterdir())
    assert all(png(p).max() <= 20 for p in (snapshot_folder / "semseg/pascal-context").iterdir())
    image = Image.open(snapshot_folder / "semseg/VOC12/2008_000001.png")
    assert image.mode == "P"
    assert image.getpalette()[:768] == voc_palette().ravel().tolist()


def test_voc_palette_has_the_known_colours():
    assert voc_palette()[[0, 1, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]


def test_void_rings_surround_the_objects(snapshot_folder):
    labels = png(snapshot_folder / "semseg/VOC12/2008_000001.png")
    objects = mat(snapshot_folder / "human_parts/2008_000001.mat", "anno")[0, 0]["objects"][0]
    masks = [thing["mask"].astype(bool) for thing in objects]
    rings = [binary_dilation(mask) & ~mask for mask in masks]
    # Where two things touch, the ring of one runs over the other.
    assert np.array_equal(labels == 255, np.any(rings, axis=0))
    assert np.array_equal((labels > 0) & (labels < 255), np.any(masks, axis=0) & ~np.any(rings, axis=0))


def test_label_maps_hold_known_ids(snapshots):
    for image_id in snapshots[1].ids[:10]:
        label_map = mat(snapshots[1].files(image_id)["label_map"], "LabelMap")
        assert label_map.dtype == np.uint16
        assert set(np.unique(label_map)) <= set(LABEL_MAP_IDS.values())


def test_trusted_and_untrusted_ids_both_occur(snapshots):
    shares = [(snapshots[0].label(i, "normals") != 0).any(2).mean() for i in snapshots[0].ids]
    assert min(shares) < 0.05
    assert max(shares) > 0.95


def test_annotations_read_by_position_and_by_name(snapshots):
    reader, people, animals = snapshots[0], 0, 0
    for image_id in reader.ids:
        anno = mat(reader.files(image_id)["parts"], "anno")
        objects = anno[0][0][1]
        assert anno[0, 0]["imname"][0] == image_id
        assert objects.shape[0] == 1
        for k in range(objects.shape[1]):
            thing = objects[0][k]
            assert thing[1].shape == (1, 1)
            assert thing["class_ind"][0, 0] == thing[1][0][0]
            assert thing[2].shape == reader.size(image_id)
            assert thing[2].any()
            parts = thing[3]
            if parts.size == 0:
                assert parts.shape == (0, 0)
                continue
            names = [str(parts[0][j][0][0]) for j in range(parts.shape[1])]
            assert all(parts[0][j][1].dtype == np.uint8 for j in range(parts.shape[1]))
            union = np.any([parts[0][j][1] for j in range(parts.shape[1])], axis=0)
            assert not (union & ~thing[2].astype(bool)).any()
            people += thing[1][0][0] == 15 and "torso" in names
            animals += thing[1][0][0] in (3, 8, 10, 12, 13, 17)
    assert people > 10
    assert animals > 10


def test_cached_object_lists_agree_with_the_annotations(snapshots):
    reader = snapshots[0]
    found = json.loads((reader.root / "ImageSets/Parts/train.txt").read_text())
    assert tuple(found) == reader.ids
    for image_id in reader.ids[:20]:
        objects = mat(reader.files(image_id)["parts"], "anno")[0, 0]["objects"][0]
        assert [int(thing["class_ind"][0, 0]) for thing in objects] == found[image_id]


def test_only_people_have_parts_and_parts_lie_on_people(snapshots):
    reader = snapshots[0]
    person = load_card("pascal-synth").tasks["semseg"].index("person")
    with_parts = 0
    for image_id in reader.ids:
        parts, labels = reader.label(image_id, "parts"), reader.label(image_id, "semseg")
        assert set(np.unique(labels[parts > 0])) <= {person, 255}
        with_parts += parts.any()
    # The skip rule needs both kinds of images.
    assert 0.3 < with_parts / len(reader.ids) < 0.8


def test_saliency_is_one_soft_edged_thing(snapshots):
    reader = snapshots[0]
    values = np.concatenate([png(reader.files(i)["saliency"]).ravel() for i in reader.ids])
    assert {120, 127, 128, 135} <= set(values.tolist())
    for image_id in reader.ids[:20]:
        salient = reader.label(image_id, "saliency") == 1
        labels = reader.label(image_id, "semseg")
        inside = labels[salient & (labels != 255)]
        assert salient.any()
        assert (inside > 0).mean() > 0.9


def test_snapshot_boundaries_follow_the_label_map(snapshots):
    reader = snapshots[0]
    label_map = mat(reader.files("2008_000002")["label_map"], "LabelMap").astype(int)
    changes = laplace(label_map, mode="mirror") != 0
    edges = reader.label("2008_000002", "boundary") == 1
    assert edges.any()
    assert not (edges & ~changes).any()
