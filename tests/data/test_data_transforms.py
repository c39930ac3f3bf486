"""Geometry and augmentation against written-out cases and library formulas."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from harness.data.augment import Augmentation, TrainTransform
from harness.data.geometry import CenterCrop, Pad, Resize, Window, centred_offset, eval_transform, resize
from harness.data.photometric import distort_, saturate_, turn_hue_
from harness.data.sample import Sample
from harness.data.transforms import MEAN, STD, mark_ignored, normalise
from harness.errors import DataError


def scene(height=6, width=8, seed=0):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    normals[0, 0] = 0
    depth = rng.uniform(1, 9, (height, width)).astype(np.float32)
    depth[0, 1] = 0
    labels = {
        "semseg": rng.integers(0, 5, (height, width)).astype(np.uint8),
        "parts": rng.integers(0, 7, (height, width)).astype(np.uint8),
        "depth": depth,
        "normals": normals,
        "boundary": rng.integers(0, 2, (height, width)).astype(np.uint8),
    }
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    for array in (image, *labels.values()):
        array.flags.writeable = False  # as the cache hands them out
    return Sample("x", image, labels)


@pytest.mark.parametrize(
    ("size", "input_size", "offset"),
    [
        ((425, 560), (448, 576), (11, 8)),
        ((375, 500), (512, 512), (68, 6)),
        ((4, 4), (4, 4), (0, 0)),
        ((3, 2), (4, 7), (0, 2)),
    ],
)
def test_padding_is_centred_with_the_odd_pixel_below_and_right(size, input_size, offset):
    assert centred_offset(size, input_size) == offset


def test_too_large_an_image_is_refused():
    with pytest.raises(DataError, match="6x8 does not fit the input of 16x7"):
        Pad((16, 7))(scene())


def test_pad_fills_images_with_the_mean_and_labels_with_255():
    sample = scene()
    item = Pad((9, 12))(sample)
    assert (item.size, item.offset) == ((6, 8), (1, 2))
    inside = np.zeros((9, 12), bool)
    inside[1:7, 2:10] = True
    assert (item.image[:, ~inside] == 0).all()
    expected = (sample.image / 255 - MEAN) / STD
    np.testing.assert_allclose(item.image[:, 1:7, 2:10], np.moveaxis(expected, 2, 0), atol=1e-6)
    for task, label in item.labels.items():
        assert label.dtype == np.float32
        assert label.shape == (3 if task == "normals" else 1, 9, 12)
        assert (label[:, ~inside] == 255).all()
    np.testing.assert_array_equal(item.labels["semseg"][0, 1:7, 2:10], sample.labels["semseg"])


def test_invalid_values_become_255_and_the_sample_stays():
    sample = scene()
    normals = mark_ignored("normals", sample.labels["normals"])
    assert (normals[:, 0, 0] == 255).all()
    np.testing.assert_array_equal(normals[:, 1:], np.moveaxis(sample.labels["normals"], 2, 0)[:, 1:])
    depth = mark_ignored("depth", sample.labels["depth"])
    assert depth[0, 0, 1] == 255
    assert (depth != 255).sum() == 47


@pytest.mark.parametrize(
    ("values", "ignored"), [([0, 0], True), ([0, 255], True), ([255, 255], True), ([0, 3], False), ([6, 255], False)]
)
def test_part_maps_without_parts_are_ignored(values, ignored):
    marked = mark_ignored("parts", np.array([values], np.uint8))
    assert marked[0, 0].tolist() == ([255, 255] if ignored else values)


def test_only_normals_with_all_components_zero_are_invalid():
    marked = mark_ignored("normals", np.array([[[0, 0, 1], [0, 0, 0]]], np.float32))
    assert marked[:, 0].T.tolist() == [[0, 0, 1], [255, 255, 255]]


def test_resize_keeps_labels_and_interpolates_cubically():
    sample = scene()
    item = Resize((12, 10))(sample)
    planes = torch.from_numpy(sample.image.astype(np.float32)).permute(2, 0, 1)[None]
    cubic = F.interpolate(planes, (12, 10), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(item.image, normalise(cubic), atol=1e-5)
    assert item.labels["semseg"].shape == (1, 6, 8)
    assert Resize.keeps_label_size
    assert not Pad.keeps_label_size


def test_centre_crop_sees_the_middle():
    sample = scene(8, 12)
    item = CenterCrop((4, 4))(sample)  # halved to 4x6, then columns 1..4
    assert item.image.shape == (3, 4, 4)
    np.testing.assert_array_equal(item.labels["semseg"][0], sample.labels["semseg"][::2, 2:10:2])
    mean = sample.image.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))[:, 1:5]
    got = np.moveaxis(item.image, 0, 2) * STD + MEAN
    assert np.abs(got * 255 - mean).max() <= 0.51


@pytest.mark.parametrize("geometry", ["pad", "resize", "crop"])
def test_every_geometry_gives_the_input_size(geometry):
    assert eval_transform(geometry, (16, 16))(scene()).image.shape == (3, 16, 16)


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scaled=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    data=st.data(),
)
def test_a_window_is_the_crop_of_the_resized_image(size, scaled, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in scaled)
    extent = tuple(data.draw(st.integers(1, n - first)) for n, first in zip(scaled, start, strict=True))
    mirrored = data.draw(st.booleans())
    rng = np.random.default_rng(0)
    label = rng.integers(0, 9, size).astype(np.uint8)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    window = Window(size, scaled, start, extent, mirrored)
    crop = np.s_[start[0] : start[0] + extent[0], start[1] : start[1] + extent[1]]
    whole = F.interpolate(torch.from_numpy(label)[None, None].double(), scaled, mode="nearest")[0, 0].numpy()
    step = -1 if mirrored else 1
    np.testing.assert_array_equal(window.nearest(label), whole[crop][:, ::step])
    np.testing.assert_array_equal(window.bilinear(image), resize(image, scaled, "bilinear")[crop][:, ::step])


def test_bilinear_resizing_has_its_pixel_centres_at_half_integers():
    image = np.repeat(np.array([[[0], [100]]], np.uint8), 3, axis=2)
    assert resize(image, (1, 4), "bilinear")[0, :, 0].tolist() == [0, 25, 75, 100]


def test_no_augmentation_equals_evaluation():
    sample = scene()
    expected = Pad((9, 12))(sample)
    got = TrainTransform((9, 12), Augmentation.none())(sample, np.random.default_rng(0))
    np.testing.assert_allclose(got.image, expected.image, atol=1e-6)
    for task, label in expected.labels.items():
        np.testing.assert_array_equal(got.labels[task], label)


def test_scaling_divides_depth():
    sample = scene()
    got = TrainTransform((12, 16), Augmentation(scale=(2, 2), flip=False))(sample, np.random.default_rng(0))
    expected = np.repeat(np.repeat(sample.labels["depth"], 2, 0), 2, 1) / 2
    expected[expected == 0] = 255
    np.testing.assert_array_equal(got.labels["depth"][0], expected)
    semseg = np.repeat(np.repeat(sample.labels["semseg"], 2, 0), 2, 1)
    np.testing.assert_array_equal(got.labels["semseg"][0], semseg)


def test_flips_mirror_everything_and_negate_x():
    sample = scene()
    transform = TrainTransform((6, 8), Augmentation(scale=None, photometric=False))
    seen = set()
    for seed in range(20):
        got = transform(sample, np.random.default_rng(seed))
        flipped = not np.array_equal(got.labels["semseg"][0], sample.labels["semseg"])
        seen.add(flipped)
        step = -1 if flipped else 1
        np.testing.assert_allclose(got.image, normalise(sample.image)[:, :, ::step], atol=1e-6)
        np.testing.assert_array_equal(got.labels["semseg"][0], sample.labels["semseg"][:, ::step])
        normals = np.moveaxis(sample.labels["normals"][:, ::step] * np.float32([step, 1, 1]), 2, 0).copy()
        normals[:, (normals == 0).all(axis=0)] = 255
        np.testing.assert_array_equal(got.labels["normals"], normals)
    assert seen == {True, False}


def test_images_and_labels_are_cropped_alike():
    height, width = 20, 30
    rows, columns = np.mgrid[:height, :width]
    place = (rows * 8 + columns).astype(np.uint8)
    sample = Sample("x", np.repeat(place[..., None], 3, 2), {"boundary": place})
    transform = TrainTransform((8, 8), Augmentation(scale=None, photometric=False))
    corners = set()
    for seed in range(40):
        got = transform(sample, np.random.default_rng(seed))
        levels = (got.image[0] * STD[0] + MEAN[0]) * 255
        np.testing.assert_allclose(levels, got.labels["boundary"][0], atol=1e-3)
        corners.add(int(got.labels["boundary"][0].min()))
    assert len(corners) > 20


def test_crops_that_one_class_fills_are_drawn_again():
    semseg = np.zeros((40, 40), np.uint8)
    semseg[:, 30:] = 1
    sample = Sample("x", np.zeros((40, 40, 3), np.uint8), {"semseg": semseg})
    draw = lambda ratio: [  # noqa: E731
        np.unique(
            TrainTransform((10, 10), Augmentation(scale=None, cat_max_ratio=ratio))(
                sample, np.random.default_rng(seed)
            ).labels["semseg"]
        ).size
        for seed in range(60)
    ]
    assert sum(n == 1 for n in draw(0.75)) < 20 < sum(n == 1 for n in draw(1.0))


def colours():
    grid = np.array([0, 1, 40, 128, 200, 255], np.float32)
    return np.stack(np.meshgrid(grid, grid, grid)).reshape(3, 12, 18).astype(np.float32)


def by_colorsys(planes, change):
    expected = np.empty_like(planes)
    for y, x in np.ndindex(planes.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(planes[:, y, x] / 255))
        expected[:, y, x] = np.multiply(colorsys.hsv_to_rgb(*change(hue, saturation, value)), 255)
    return expected


@pytest.mark.parametrize("degrees", [-36, -10, 0, 17.5, 36, 200])
def test_the_hue_turns_as_in_hsv(degrees):
    planes = colours()
    expected = by_colorsys(planes, lambda h, s, v: ((h + degrees / 360) % 1, s, v))
    turn_hue_(planes, degrees)
    np.testing.assert_allclose(planes, expected, atol=1e-2)


@pytest.mark.parametrize("factor", [0, 0.5, 1, 1.5])
def test_saturation_is_multiplied_as_in_hsv(factor):
    planes = colours()
    expected = by_colorsys(planes, lambda h, s, v: (h, min(1, s * factor), v))
    saturate_(planes, factor)
    np.testing.assert_allclose(planes, expected, atol=1e-2)


@given(st.integers(0, 2**32 - 1))
def test_distortion_stays_in_range_and_follows_from_its_generator(seed):
    one, two = colours(), colours()
    distort_(one, np.random.default_rng(seed))
    distort_(two, np.random.default_rng(seed))
    np.testing.assert_array_equal(one, two)
    assert one.min() >= -1e-3
    assert one.max() <= 255 + 1e-3


def test_distortion_moves_grey_within_the_stated_ranges():
    moved = []
    rng = np.random.default_rng(0)
    for _ in range(2000):
        planes = np.full((3, 1, 1), 100, np.float32)
        distort_(planes, rng)
        assert np.ptp(planes) < 1e-3  # grey has no hue and no saturation to change
        moved.append(float(planes.mean()))
    assert min(moved) >= (100 - 32) * 0.5 - 1e-3
    assert max(moved) <= (100 + 32) * 1.5 + 1e-3
    unmoved = sum(abs(value - 100) < 1e-3 for value in moved) / 2000
    assert 0.22 < unmoved < 0.28  # neither brightness nor contrast: one in four


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation.light(), Augmentation.none()])
@pytest.mark.parametrize("size", [(6, 8), (40, 50), (1, 1)])
def test_training_scenes_have_the_input_size_and_valid_labels(augmentation, size):
    sample = (
        scene(*size)
        if size != (1, 1)
        else Sample("x", np.zeros((1, 1, 3), np.uint8), {"semseg": np.zeros((1, 1), np.uint8)})
    )
    for seed in range(10):
        got = TrainTransform((16, 24), augmentation)(sample, np.random.default_rng(seed))
        assert got.image.shape == (3, 16, 24)
        assert np.isfinite(got.image).all()
        for label in got.labels.values():
            assert label.shape[1:] == (16, 24)
