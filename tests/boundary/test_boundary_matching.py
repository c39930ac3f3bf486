"""The matcher against other solvers, and its own laws."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow, min_weight_full_bipartite_matching

from harness.boundary import greedy, index_gt, match
from harness.boundary.matching import Matching
from harness.boundary.thinning import flatten
from harness.errors import DataError


def pairs(prediction, gt, radius):
    """Return the squared distances of all pairs and which are within the radius, [predictions, gts]."""
    p, g = np.argwhere(prediction), np.argwhere(gt)
    square = ((p[:, None] - g[None]) ** 2).sum(axis=-1)
    return square, square <= radius * radius


def by_exhaustion(prediction, gt, radius):
    """Try every assignment, one predicted pixel after the other."""
    _, possible = pairs(prediction, gt, radius)

    @cache
    def best(row, taken):
        if row == len(possible):
            return 0
        options = [best(row + 1, taken)]
        for column in np.flatnonzero(possible[row]):
            if not taken & (1 << int(column)):
                options.append(1 + best(row + 1, taken | 1 << int(column)))
        return max(options)

    return best(0, 0)


def by_flow(prediction, gt, radius):
    """Solve the matching as a maximum flow from a source over both sides to a sink."""
    _, possible = pairs(prediction, gt, radius)
    n, m = possible.shape
    row, column = np.nonzero(possible)
    tail = np.concatenate([np.zeros(n), row + 1, np.arange(m) + n + 1])
    head = np.concatenate([np.arange(n) + 1, column + n + 1, np.full(m, n + m + 1)])
    shape = (n + m + 2, n + m + 2)
    graph = csr_array(coo_array((np.ones(len(tail), dtype=np.int32), (tail.astype(int), head.astype(int))), shape))
    return maximum_flow(graph, 0, n + m + 1, method="dinic").flow_value


def by_least_cost(prediction, gt, radius):
    """Minimise the total distance where leaving a predicted pixel alone costs 100 radii."""
    square, possible = pairs(prediction, gt, radius)
    n, m = possible.shape
    row, column = np.nonzero(possible)
    outlier = np.arange(n)
    weight = np.concatenate([np.sqrt(square[possible]) + 1e-6, np.full(n, 100 * radius)])
    index = (np.concatenate([row, outlier]), np.concatenate([column, m + outlier]))
    _, chosen = min_weight_full_bipartite_matching(csr_array(coo_array((weight, index), (n, m + n))))
    return int((chosen < m).sum())


def random_maps(seed, shape, density):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density * rng.random(), rng.random(shape) < density * rng.random()


@settings(max_examples=150, deadline=None)
@given(arrays(bool, (3, 4)), arrays(bool, (3, 4)), st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.3, 9.0]))
def test_equals_the_exhaustive_optimum(prediction, gt, radius):
    assert match(prediction, index_gt(gt, radius)) == by_exhaustion(prediction, gt, radius)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("radius", [1.0, 2.4, 4.69, 7.73])
def test_equals_the_maximum_flow(seed, radius):
    prediction, gt = random_maps(seed, (30, 150), 0.2)
    assert match(prediction, index_gt(gt, radius)) == by_flow(prediction, gt, radius)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_matching_of_least_cost(seed):
    prediction, gt = random_maps(seed, (25, 70), 0.25)
    assert match(prediction, index_gt(gt, 3.2)) == by_least_cost(prediction, gt, 3.2)


def test_a_radius_over_several_words_of_the_bit_image():
    prediction, gt = random_maps(5, (4, 300), 0.1)
    prediction[:, :130], gt[:, 150:] = False, False
    assert match(prediction, index_gt(gt, 90.0)) == by_flow(prediction, gt, 90.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(arrays(bool, (6, 70)), min_size=1, max_size=5), arrays(bool, (6, 70)))
def test_following_a_sequence_of_maps_equals_matching_each_alone(maps, gt):
    index = index_gt(gt, 2.3)
    matching = Matching(index)
    assert [matching.update(flatten(one)) for one in maps] == [match(one, index) for one in maps]


@settings(max_examples=50, deadline=None)
@given(arrays(bool, (8, 9)), arrays(bool, (8, 9)))
def test_is_symmetric_and_grows_with_the_radius(a, b):
    found = [match(a, index_gt(b, radius)) for radius in (0.3, 1.0, 1.5, 3.0, 20.0)]
    assert found == [match(b, index_gt(a, radius)) for radius in (0.3, 1.0, 1.5, 3.0, 20.0)]
    assert found == sorted(found)
    assert found[0] == (a & b).sum()
    assert found[-1] == min(a.sum(), b.sum())


@settings(max_examples=50, deadline=None)
@given(arrays(bool, (8, 9)), arrays(bool, (8, 9)))
def test_greedy_finds_at_least_half(a, b):
    index = index_gt(b, 2.0)
    assert match(a, index) / 2 <= greedy(a, index) <= match(a, index)


def test_greedy_is_not_exact():
    # The middle pair is nearest and leaves both ends alone.
    prediction, gt = np.zeros((2, 1, 6), dtype=bool)
    prediction[0, [0, 3]] = gt[0, [2, 5]] = True
    assert greedy(prediction, index_gt(gt, 2.0)) == 1
    assert match(prediction, index_gt(gt, 2.0)) == 2


def test_the_radius_is_inclusive():
    prediction, gt = np.zeros((2, 10, 10), dtype=bool)
    prediction[1, 1] = gt[4, 5] = True
    assert match(prediction, index_gt(gt, 5.0)) == 1
    assert match(prediction, index_gt(gt, np.nextafter(5.0, 0))) == 0


def test_a_dense_map_ends():
    dense = np.ones((120, 160), dtype=bool)
    assert match(dense, index_gt(dense, 7.73)) == dense.size
    half = dense.copy()
    half[:, ::2] = False
    assert match(half, index_gt(dense, 7.73)) == half.sum()


def test_two_sizes_are_refused():
    with pytest.raises(DataError, match=r"\(3, 4\).*\(4, 3\)"):
        match(np.zeros((3, 4), dtype=bool), index_gt(np.zeros((4, 3), dtype=bool), 1.0))
