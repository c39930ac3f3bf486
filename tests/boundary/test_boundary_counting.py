"""Counts of one image: comparisons, borders, determinism and refusals."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from harness.boundary import BoundaryRule, count_image, ground_truth, seg2bmap, suppress, thin
from harness.boundary.matching import index_gt, match
from harness.errors import DataError, UsageError


def scene(seed, shape=(70, 90)):
    """Return an 8-bit boundary map and the labels it was made from."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = rng.uniform(0, shape[1], (8, 2))
    labels = ((y - centres[:, 0, None, None]) ** 2 + (x - centres[:, 1, None, None]) ** 2).argmin(axis=0)
    soft = gaussian_filter(seg2bmap(labels).astype(float), 1.2) * 2 + 0.1 * rng.random(shape)
    return np.floor(255 * np.clip(soft, 0, 1)).astype(np.uint8), labels


def all_counts(counts):
    return np.stack([counts.cnt_r, counts.sum_r, counts.cnt_p, counts.sum_p])


@pytest.mark.parametrize("rule", [BoundaryRule(0.011), BoundaryRule.plain(0.0075)], ids=["nms", "plain"])
def test_every_threshold_equals_the_written_out_protocol(rule):
    picture, labels = scene(1)
    gt = ground_truth(labels)
    got = count_image(picture, gt, rule)
    index = index_gt(gt, rule.radius(gt.shape))
    ridges = suppress(picture.astype(np.float32) / np.float32(255))
    for k, threshold in enumerate(rule.thresholds):
        above = ridges > np.float32(threshold) if rule.nms else picture / 255 >= threshold
        thinned = thin(above)
        assert got.sum_p[k] == thinned.sum()
        assert got.cnt_p[k] == got.cnt_r[k] == match(thinned, index)
        assert got.sum_r[k] == gt.sum()
    assert got.cnt_r.max() > 0.8 * gt.sum()


def test_two_runs_give_the_same_integers():
    picture, labels = scene(2)
    first, second = (count_image(picture, ground_truth(labels), BoundaryRule(0.011)) for _ in range(2))
    assert np.array_equal(all_counts(first), all_counts(second))


def test_counts_add():
    picture, labels = scene(3)
    one = count_image(picture, ground_truth(labels), BoundaryRule(0.011))
    assert np.array_equal(all_counts(one + one), 2 * all_counts(one))
    assert all_counts(one).dtype == np.int64


def test_a_float_map_of_the_same_values_counts_the_same():
    picture, labels = scene(4)
    gt = ground_truth(labels)
    for rule, dtype in ((BoundaryRule(0.011), np.float32), (BoundaryRule.plain(0.011), np.float64)):
        as_float = picture.astype(dtype) / dtype(255)
        assert np.array_equal(all_counts(count_image(as_float, gt, rule)), all_counts(count_image(picture, gt, rule)))


def test_thresholds_are_strict_in_float32_with_suppression_and_inclusive_without():
    # 51/255 equals 0.2 in float32; a lone ridge well inside the image keeps its value.
    picture = np.zeros((30, 30), dtype=np.uint8)
    picture[8:22, 15] = 51
    gt = picture > 0
    at = BoundaryRule(0.02).thresholds.index(0.2)
    strict = count_image(picture, gt, BoundaryRule(0.02))
    assert strict.sum_p[at] == 0
    assert strict.sum_p[at - 1] > 0
    at = BoundaryRule.plain(0.02).thresholds.index(0.2)
    inclusive = count_image(picture, gt, BoundaryRule.plain(0.02))
    assert inclusive.sum_p[at] == gt.sum()
    assert inclusive.sum_p[at + 1] == 0


def test_a_boundary_that_fades_is_not_resurrected_at_the_rim():
    picture = np.zeros((40, 40), dtype=np.uint8)
    picture[:, 0] = picture[20, :] = 255
    damped = suppress(picture.astype(np.float32) / np.float32(255))
    assert not damped[:, [0, -1]].any()
    assert not damped[[0, -1]].any()
    np.testing.assert_allclose(damped[20, 30:40], [1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 3), (11, 64)])
@pytest.mark.parametrize("rule", [BoundaryRule(0.3), BoundaryRule.plain(0.3), BoundaryRule.quick(0.3)])
def test_small_images_count(shape, rule):
    rng = np.random.default_rng(7)
    got = count_image(rng.integers(0, 256, shape, dtype=np.uint8), rng.random(shape) < 0.5, rule)
    assert (got.cnt_p <= np.minimum(got.sum_p, got.sum_r)).all()


def test_an_empty_prediction_and_an_empty_truth():
    picture, labels = scene(5)
    gt = ground_truth(labels)
    rule = BoundaryRule(0.011)
    assert not all_counts(count_image(np.zeros_like(picture), gt, rule))[[0, 2, 3]].any()
    nothing = count_image(picture, np.zeros_like(gt), rule)
    assert not all_counts(nothing)[:3].any()
    assert nothing.sum_p.any()


def test_the_true_boundaries_score_almost_one_without_suppression():
    _, labels = scene(6)
    gt = ground_truth(labels)
    got = count_image(gt.astype(np.uint8) * 255, gt, BoundaryRule.plain(0.0075))
    assert (got.cnt_r == gt.sum()).all()
    assert (got.sum_p == gt.sum()).all()


def test_the_quick_rule_is_marked_and_never_above_the_exact_one():
    picture, labels = scene(8)
    gt = ground_truth(labels)
    quick, exact = BoundaryRule.quick(0.011), BoundaryRule(0.011)
    assert quick.approximate
    assert not exact.approximate
    rough, full = count_image(picture, gt, quick), count_image(picture, gt, exact)
    assert (rough.cnt_p <= full.cnt_p[::5]).all()
    assert np.array_equal(rough.sum_p, full.sum_p[::5])
    assert rough.cnt_p.sum() > 0.9 * full.cnt_p[::5].sum()


@pytest.mark.parametrize(
    ("prediction", "gt", "message"),
    [
        (np.zeros((3, 4)), np.zeros((4, 3), dtype=bool), "one size"),
        (np.zeros((1, 3, 4)), np.zeros((1, 3, 4), dtype=bool), "one size"),
        (np.zeros((3, 4), dtype=np.int64), np.zeros((3, 4), dtype=bool), "uint8 or float"),
        (np.full((3, 4), 2.0), np.zeros((3, 4), dtype=bool), "sigmoid"),
        (np.full((3, 4), np.nan), np.zeros((3, 4), dtype=bool), "sigmoid"),
        (np.zeros((3, 4)), np.zeros((3, 4), dtype=np.uint8), "boolean"),
    ],
)
def test_maps_that_make_no_sense_are_refused(prediction, gt, message):
    with pytest.raises(DataError, match=message):
        count_image(prediction, gt, BoundaryRule(0.011))


@pytest.mark.parametrize(
    "options",
    [
        {"max_dist": 0.0},
        {"max_dist": float("nan")},
        {"thresholds": ()},
        {"thresholds": (0.5, 0.5)},
        {"thresholds": (1.0,)},
    ],
)
def test_rules_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError):
        BoundaryRule(**{"max_dist": 0.011, **options})
