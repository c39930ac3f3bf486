"""Wrong units, ranges and encodings are named; right ones are left alone."""

import numpy as np
import pytest

from harness.data.plausibility import depth_fault, facts, implausible, levels_fault, total
from harness.problem import TaskSpec

RNG = np.random.default_rng(0)
METRES = RNG.uniform(0.7, 9.9, (20, 30)).astype(np.float32)
VECTORS = RNG.normal(size=(20, 30, 3)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=2, keepdims=True)


def found(task, *labels, classes=None, **options):
    return implausible(TaskSpec(task, classes), total(facts(task, label) for label in labels), **options)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (METRES * 1000, "millimetres"),
        (METRES * 100, "centimetres"),
        (METRES / 10, "normalised"),
        (np.rint(METRES * 25).astype(np.float32), "8-bit"),
        (np.zeros_like(METRES), "no valid pixel"),
    ],
)
def test_a_wrong_unit_of_depth_is_named(depth, words):
    assert words in found("depth", depth, depth, deepest=10)
    assert found("depth", METRES, deepest=10) is None


def test_one_close_image_does_not_make_a_set_normalised():
    assert found("depth", METRES / 10, METRES) is None
    assert found("depth", METRES, METRES, METRES * 1000) is None  # the reader names the single file


@pytest.mark.parametrize(
    ("normals", "words"),
    [
        (np.repeat(VECTORS[..., :1], 3, axis=2), "three channels"),
        ((VECTORS + 1) / 2, "no component is negative"),
        (VECTORS * 127, "length of 127"),
        (VECTORS * 0, "no valid pixel"),
    ],
)
def test_wrong_normals_are_named(normals, words):
    assert words in found("normals", normals)
    assert found("normals", VECTORS) is None


def test_binary_labels_are_looked_at_as_a_set():
    empty, half = np.zeros((4, 5), np.uint8), np.eye(4, 5, dtype=np.uint8)
    assert "0 and 255" in found("saliency", empty, empty)
    assert found("saliency", empty, half) is None
    assert "inverted" in found("boundary", 1 - half)
    assert "no boundary" in found("boundary", empty)
    assert found("boundary", half) is None


def test_classes_that_never_occur_show_an_offset_of_a_published_set():
    label = np.arange(39, dtype=np.uint8).reshape(3, 13)
    assert "class 38 is the highest of 60" in found("semseg", *[label] * 60, classes=40, published=True)
    assert found("semseg", *[label] * 60, classes=40) is None
    assert found("semseg", *[label] * 9, classes=40, published=True) is None
    assert found("semseg", *[label] * 60, classes=39, published=True) is None
    assert "no valid pixel" in found("semseg", np.full((3, 4), 255, np.uint8), classes=40)


def test_levels_of_zero_and_one_are_named():
    assert "255 times a probability" in levels_fault(1)
    assert levels_fault(0) is None
    assert levels_fault(200) is None


def test_boundaries_of_the_units():
    assert depth_fault(80, 90) is None
    assert "centimetres" in depth_fault(80.1, 90)
    assert "millimetres" in depth_fault(500, 1900)
    assert depth_fault(0.5, 1.01) is None
