"""Every stage of the boundary score against values of the reference tools."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from harness.boundary import (
    BoundaryRule,
    count_image,
    ground_truth,
    index_gt,
    match,
    orientation,
    score,
    seg2bmap,
    suppress,
    thin,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "boundary_cases.json").read_text())
ARRAYS = np.load(GOLDEN / "boundary_arrays.npz")


def cases(op):
    return [pytest.param(case, id=case["id"]) for case in CASES if case["op"] == op]


def test_every_kind_of_case_is_tested():
    assert {case["op"] for case in CASES} == {"thin", "match", "seg2bmap", "nyud_gt", "nms", "ods"}


@pytest.mark.parametrize("case", cases("thin"))
def test_thin(case):
    assert np.array_equal(thin(ARRAYS[case["input"]]), ARRAYS[case["expected"]])


@pytest.mark.parametrize("case", cases("match"))
def test_match(case):
    prediction, gt = ARRAYS[case["pred"]], ARRAYS[case["gt"]]
    radius = BoundaryRule(case["max_dist"]).radius(gt.shape)
    assert radius == pytest.approx(case["radius_px"], rel=1e-15)
    assert (prediction.sum(), gt.sum()) == (case["sumP"], case["sumR"])
    assert match(prediction, index_gt(gt, radius)) == case["exact_max_cardinality"]


@pytest.mark.parametrize("case", cases("seg2bmap"))
def test_seg2bmap(case):
    assert np.array_equal(seg2bmap(ARRAYS[case["input"]]), ARRAYS[case["expected"]])


@pytest.mark.parametrize("case", cases("nyud_gt"))
def test_ground_truth_of_an_edge_picture(case):
    edges = ARRAYS[case["input"]]
    assert np.array_equal(seg2bmap(edges), ARRAYS[case["seg2bmap"]])
    assert np.array_equal(ground_truth(edges), ARRAYS[case["expected"]])


@pytest.mark.parametrize("case", cases("nms"))
def test_suppression_given_the_orientation(case):
    probability = ARRAYS[case["pred_uint8"]].astype(np.float32) / np.float32(255)
    got = suppress(probability, ARRAYS[case["orientation"]])
    expected = ARRAYS[case["expected"]]
    assert np.array_equal(got > 0, expected > 0)
    np.testing.assert_allclose(got, expected, rtol=3e-7)


@pytest.mark.parametrize("case", cases("nms"))
def test_suppression_from_end_to_end(case):
    probability = ARRAYS[case["pred_uint8"]].astype(np.float32) / np.float32(255)
    differing = (suppress(probability) > 0) != (ARRAYS[case["expected"]] > 0)
    assert differing.mean() <= 0.001
    turned = np.abs(orientation(probability) - ARRAYS[case["orientation"]])
    assert np.mean(np.minimum(turned, np.pi - turned) > 1e-3) <= 0.001


@pytest.mark.parametrize("case", cases("ods"))
def test_ods(case):
    rule = BoundaryRule(case["max_dist"], nms=case["nms"], thresholds=tuple(case["thresholds"]))
    preset = BoundaryRule(case["max_dist"]) if case["nms"] else BoundaryRule.plain(case["max_dist"])
    assert preset.thresholds == pytest.approx(rule.thresholds, rel=1e-15)
    counts = []
    for image in case["images"]:
        gt = ground_truth(ARRAYS[image["seg"]])
        assert np.array_equal(gt, ARRAYS[image["gt_thin"]])
        counts.append(count_image(ARRAYS[image["pred_uint8"]], gt, preset))
    arrays = {name: ARRAYS[key] for name, key in case["arrays"].items()}
    assert np.array_equal([c.cnt_p for c in counts], arrays["count"])
    assert np.array_equal([c.cnt_r for c in counts], arrays["count"])
    assert np.array_equal([c.sum_p for c in counts], arrays["sumP"])
    assert np.array_equal([c.sum_r for c in counts], arrays["sumR"])
    got, expected = score(counts, preset), case["exact"]
    assert got.ods_f == pytest.approx(expected["odsF"], rel=1e-9)
    assert got.ods_precision == pytest.approx(expected["precision"], rel=1e-9)
    assert got.ods_recall == pytest.approx(expected["recall"], rel=1e-9)
    assert got.ods_threshold == preset.thresholds[expected["threshold_index"]]
    # The reference matcher draws random outliers: it can only lose pairs, up to 1 %.
    for run in case["ref_runs"]:
        assert run["odsF"] <= got.ods_f + 1e-12
        assert run["odsF"] >= 0.99 * got.ods_f


LOADED = np.load(GOLDEN / "loader_expected.npz")


@pytest.mark.parametrize("key", [key for key in LOADED if key.endswith("odsf_gt")])
def test_ground_truth_of_the_mini_sets(key):
    database, image_id, _ = key.split("/")
    if database == "nyud":
        labels = np.array(Image.open(GOLDEN / "mini_NYUDv2" / "edge" / f"{image_id}.png"))
    else:
        trainval = GOLDEN / "mini_PASCALContext" / "pascal-context" / "trainval"
        labels = loadmat(trainval / f"{image_id}.mat")["LabelMap"]
    assert np.array_equal(ground_truth(labels), LOADED[key] > 0)
