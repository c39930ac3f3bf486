"""Readers and the pad geometry give the arrays of the reference loaders."""

from pathlib import Path

import numpy as np
import pytest

from harness.boundary import ground_truth
from harness.data.cache import open_scenes
from harness.data.geometry import Pad
from harness.datasets.nyud import NYUD
from harness.datasets.pascal_context import PascalContext

GOLDEN = Path(__file__).parent.parent / "golden"
EXPECTED = np.load(GOLDEN / "loader_expected.npz")
NAMES = {"sal": "saliency", "human_parts": "parts", "edge": "boundary"}
CASES = {
    "nyud": (NYUD(), GOLDEN / "mini_NYUDv2", (40, 48)),
    "pascal": (PascalContext(), GOLDEN / "mini_PASCALContext", (48, 48)),
}
KEYS = [key.split("/") for key in EXPECTED.files if not key.endswith("odsf_gt")]


@pytest.mark.parametrize(("db", "image_id", "role"), [(k[0], k[1], k[3]) for k in KEYS if k[2] == "raw"])
def test_readers_equal_the_reference(db, image_id, role):
    dataset, root, _ = CASES[db]
    reader = dataset.reader(root, "val")
    expected = EXPECTED[f"{db}/{image_id}/raw/{role}"]
    if role == "image":
        image = reader.image(image_id)
        assert image.dtype == np.uint8
        assert np.abs(image.astype(float) - expected).max() <= 2  # decoders of JPEG differ
        return
    label = reader.label(image_id, NAMES.get(role, role))
    assert label.dtype == (np.float32 if role in ("depth", "normals") else np.uint8)
    np.testing.assert_array_equal(label, expected if role == "normals" else expected[..., 0])


@pytest.mark.parametrize(("db", "image_id", "role"), [(k[0], k[1], k[3]) for k in KEYS if k[2] == "val"])
def test_cached_and_padded_scenes_equal_the_reference(db, image_id, role):
    dataset, root, size = CASES[db]
    reader = dataset.reader(root, "val")
    scenes = open_scenes(dataset, reader, [task.name for task in dataset.tasks])
    item = Pad(size)(scenes[scenes.ids.index(image_id)])
    expected = EXPECTED[f"{db}/{image_id}/val/{role}"]
    if role == "image":
        one_level = 1 / 255 / np.array([0.229, 0.224, 0.225])[:, None, None]
        assert (np.abs(item.image - expected) <= 2 * one_level + 1e-6).all()
    else:
        np.testing.assert_array_equal(item.labels[NAMES.get(role, role)], expected)


def test_an_image_without_people_is_ignored_for_parts_as_a_whole():
    dataset, root, size = CASES["pascal"]
    scenes = open_scenes(dataset, dataset.reader(root, "val"), ["parts"])
    assert (scenes[2].labels["parts"] == 0).all()  # a person, but no annotated part
    assert (Pad(size)(scenes[2]).labels["parts"] == 255).all()


@pytest.mark.parametrize("key", [key for key in EXPECTED.files if key.endswith("odsf_gt")])
def test_reference_boundaries_of_odsf(key):
    db, image_id, _ = key.split("/")
    dataset, root, _ = CASES[db]
    regions = dataset.reader(root, "val").boundary_regions(image_id)
    np.testing.assert_array_equal(ground_truth(regions), EXPECTED[key])


def test_sizes_of_inputs():
    nyud, root, _ = CASES["nyud"]
    assert nyud.input_size(nyud.reader(root, "val")) == (48, 48)
    pascal, root, _ = CASES["pascal"]
    assert pascal.input_size(pascal.reader(root, "val")) == (48, 48)
