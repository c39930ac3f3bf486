"""Predictions are laid where the labels of their images lie."""

import numpy as np
import pytest

from harness.data.geometry import CenterCrop, Pad, Resize
from harness.data.sample import Sample
from harness.errors import DataError

SIZE = (33, 46)
TRANSFORMS = [Pad((48, 64)), Resize((32, 32)), CenterCrop((32, 32))]


def labels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 40, SIZE).astype(np.uint8)


def ids(transform: object) -> str:
    return type(transform).__name__


@pytest.mark.parametrize("transform", TRANSFORMS, ids=ids)
def test_a_label_map_handed_in_as_a_prediction_meets_the_label(transform) -> None:
    label = labels()
    item = transform(Sample("x", np.zeros((*SIZE, 3), np.uint8), {"semseg": label}))
    placed = transform.place(label[None].astype(np.float32), SIZE, False)
    target = item.labels["semseg"]
    assert placed.shape == target.shape
    assert ((placed == target) | (target == 255)).all()
    restored = transform.restore(placed, SIZE)
    np.testing.assert_array_equal(transform.place(restored, SIZE, False), placed)


def test_padding_is_cut_off_and_put_back() -> None:
    planes = labels()[None].astype(np.float32)
    pad = Pad((48, 64))
    placed = pad.place(planes, SIZE, True)
    assert placed.shape == (1, 48, 64)
    np.testing.assert_array_equal(placed[:, 7:40, 9:55], planes)
    assert placed.sum() == planes.sum()
    np.testing.assert_array_equal(pad.restore(placed, SIZE), planes)
    assert pad.place(placed, SIZE, True) is placed, "padded already"


@pytest.mark.parametrize("transform", TRANSFORMS, ids=ids)
def test_other_sizes_are_resized_classes_to_the_nearest_and_values_smoothly(transform) -> None:
    steps = np.repeat(np.float32([0, 8]), [46, 46])[None, None].repeat(66, axis=1)
    classes = transform.restore(transform.place(steps, SIZE, False), SIZE)
    assert set(np.unique(classes)) == {0, 8}
    ramp = np.linspace(0, 1, 92, dtype=np.float32)[None, None].repeat(66, axis=1)
    values = transform.restore(transform.place(ramp, SIZE, True), SIZE)
    assert (np.diff(values, axis=2) > 0).all()
    assert values.shape == classes.shape


def test_an_image_larger_than_the_input_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        Pad((32, 32)).place(np.zeros((1, *SIZE), np.float32), SIZE, True)
