"""Pictures: the field's colours, and black where nothing is labelled."""

import numpy as np
import pytest
import torch

from harness.problem import TaskSpec
from harness.tasks import build_task
from harness.tasks.base import IGNORE
from harness.tasks.pictures import voc_colours

SPECS = [
    TaskSpec("semseg", 40, ("wall", "floor")),
    TaskSpec("parts", 7, ("background", "head")),
    TaskSpec("saliency"),
    TaskSpec("normals"),
    TaskSpec("depth"),
    TaskSpec("boundary"),
]


def test_voc_colours_are_the_published_ones() -> None:
    published = {0: (0, 0, 0), 1: (128, 0, 0), 7: (128, 128, 128), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    colours = voc_colours()
    assert {label: tuple(colours[label].tolist()) for label in published} == published
    assert len(np.unique(colours, axis=0)) == 256


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_pictures_are_rgb_bytes_and_ignored_pixels_are_black(spec: TaskSpec) -> None:
    task = build_task(spec)
    target = torch.zeros(3 if spec.name == "normals" else 1, 5, 6)
    target[:, 2] = IGNORE
    shown = task.target_picture(target)
    predicted = task.picture(torch.randn(spec.channels, 5, 6))
    for picture in (shown, predicted):
        assert picture.shape == (5, 6, 3)
        assert picture.dtype == np.uint8
    assert (shown[2] == 0).all()


def test_class_zero_is_black_only_where_it_is_the_background() -> None:
    label = torch.zeros(1, 1, 1)
    assert build_task(SPECS[0]).target_picture(label).ravel().tolist() == [128, 0, 0]
    assert build_task(SPECS[1]).target_picture(label).ravel().tolist() == [0, 0, 0]


def test_a_prediction_looks_like_the_label_it_agrees_with() -> None:
    label = torch.tensor([[[0.0, 3.0, 6.0]]])
    scores = torch.nn.functional.one_hot(label[0].long(), 7).permute(2, 0, 1).float()
    parts = build_task(SPECS[1])
    np.testing.assert_array_equal(parts.picture(scores), parts.target_picture(label))
    facing = torch.tensor([0.0, 0.0, -2.0]).view(3, 1, 1)
    assert build_task(TaskSpec("normals")).picture(facing).ravel().tolist() == [128, 128, 0]


def test_grey_is_the_probability() -> None:
    raw = torch.tensor([[[-20.0, 0.0, 20.0]]])
    assert build_task(TaskSpec("boundary")).picture(raw)[0, :, 0].tolist() == [0, 128, 255]
    assert build_task(TaskSpec("saliency")).picture(raw)[0, :, 0].tolist() == [0, 128, 255]


def test_depth_colours_grow_lighter_over_ten_metres() -> None:
    depth = torch.tensor([[[0.0, 5.0, 10.0, 50.0]]])
    picture = build_task(TaskSpec("depth")).picture(depth)[0].astype(int)
    luma = picture @ [299, 587, 114]
    assert luma[0] < luma[1] < luma[2]
    assert picture[2].tolist() == picture[3].tolist()
