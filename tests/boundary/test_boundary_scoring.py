"""Scores from counts: hand values and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.boundary import BoundaryRule, Counts, Totals, score

RULE = BoundaryRule(0.01, thresholds=(0.2, 0.5, 0.8))


def counts(matched, truth, predicted):
    matched, predicted = np.array(matched), np.array(predicted)
    return Counts(matched, np.full(len(matched), truth), matched, predicted)


@st.composite
def images(draw):
    truth = draw(st.integers(0, 50))
    predicted = [draw(st.integers(0, 50)) for _ in RULE.thresholds]
    return counts([draw(st.integers(0, min(truth, p))) for p in predicted], truth, predicted)


def test_hand_values():
    one, two = counts([8, 6, 1], 10, [20, 8, 1]), counts([5, 4, 3], 5, [10, 5, 3])
    got = score([one, two], RULE)
    # 0.2: P 13/30, R 13/15; 0.5: P 10/13, R 10/15; 0.8: P 1, R 4/15
    assert (got.ods_threshold, got.ods_precision, got.ods_recall) == (0.5, 10 / 13, 10 / 15)
    assert got.ods_f == pytest.approx(2 * 10 / (13 + 15))
    # Best of the first: 2*6/18 at 0.5; of the second: 2*4/10 at 0.5 against 2*3/8 at 0.8.
    assert got.ois_f == pytest.approx(2 * 10 / (13 + 15))
    assert got.images == 2


def test_every_image_at_its_own_threshold():
    one, two = counts([9, 2, 1], 10, [10, 3, 1]), counts([5, 5, 5], 5, [50, 20, 5])
    assert score([one, two], RULE).ois_f == pytest.approx(2 * 14 / (15 + 15))
    assert score([one, two], RULE).ods_f < score([one, two], RULE).ois_f


def test_average_precision_interpolates_and_counts_recalls_out_of_reach_as_zero():
    got = score([counts([8, 4, 0], 8, [16, 4, 0])], RULE)
    # Precision 1 up to recall 0.5 (from the empty map's 1 at recall 0), then down to 0.5 at recall 1.
    recall = np.arange(101) / 100
    assert got.ap == pytest.approx(np.where(recall <= 0.5, 1, 1.5 - recall).sum() / 100)
    assert score([counts([4, 4, 4], 8, [8, 8, 8])], RULE).ap == pytest.approx(0.5 / 100)


def test_empty_maps():
    nothing_predicted = score([counts([0, 0, 0], 5, [0, 0, 0])], RULE)
    assert (nothing_predicted.ods_precision, nothing_predicted.ods_recall, nothing_predicted.ods_f) == (1, 0, 0)
    nothing_true = score([counts([0, 0, 0], 0, [3, 2, 1])], RULE)
    assert (nothing_true.ods_precision, nothing_true.ods_recall, nothing_true.ods_f) == (0, 1, 0)


def test_no_image_has_no_score():
    got = score([], RULE)
    assert got.images == 0
    assert np.isnan([got.ods_f, got.ois_f, got.ap]).all()


@given(st.lists(images(), min_size=1, max_size=5))
def test_scores_are_fractions(several):
    got = score(several, RULE)
    assert all(0 <= value <= 1.01 for value in (got.ap,))
    assert all(0 <= value <= 1 for value in (got.ods_f, got.ois_f, got.ods_precision, got.ods_recall))


@given(images())
def test_one_image_has_its_best_threshold(image):
    got = score([image], RULE)
    assert got.ois_f == got.ods_f


@given(st.lists(images(), min_size=1, max_size=4), st.integers(0, 50))
def test_a_perfect_image_never_lowers_the_score(several, pixels):
    perfect = counts([pixels] * 3, pixels, [pixels] * 3)
    before, after = score(several, RULE), score([*several, perfect], RULE)
    assert after.ods_f >= before.ods_f - 1e-12
    assert after.ois_f >= before.ois_f - 1e-12


@given(st.lists(images(), min_size=2, max_size=6), st.integers(1, 5))
def test_halves_add_up_to_the_whole(several, cut):
    totals = [Totals.of(image) for image in several]
    cut = min(cut, len(totals) - 1)
    first, second = totals[:cut], totals[cut:]
    merged = sum(first[1:], first[0]) + sum(second[1:], second[0])
    assert merged.score(RULE) == score(several, RULE)
    assert np.array_equal(merged.pooled.cnt_r, sum(image.cnt_r for image in several))
