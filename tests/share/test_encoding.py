"""Encodings of sparse differences: undone bit for bit, of the sizes the formulas say, the smallest one chosen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.methods.share import encoding
from harness.methods.share.encoding import decode, encode

SHAPES = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 60)),
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
)


@st.composite
def sparse(draw: st.DrawFn) -> tuple[tuple[int, ...], np.ndarray]:
    shape = draw(SHAPES)
    size = math.prod(shape)
    places = draw(st.lists(st.integers(0, size - 1), unique=True, max_size=size))
    return shape, np.array(sorted(places), np.int64)


@given(case=sparse(), value_bytes=st.sampled_from([2, 4]))
@settings(max_examples=200, deadline=None)
def test_the_chosen_encoding_is_undone(case: tuple[tuple[int, ...], np.ndarray], value_bytes: int) -> None:
    shape, nonzero = case
    layout = encode(shape, nonzero, value_bytes)
    np.testing.assert_array_equal(decode(layout.encoding, shape, layout.code), layout.places)
    assert set(nonzero) <= set(layout.places), "whole channels hold zeros too"
    if layout.encoding != "channels":
        np.testing.assert_array_equal(layout.places, nonzero)


@given(case=sparse())
@settings(max_examples=200, deadline=None)
def test_every_encoding_is_undone(case: tuple[tuple[int, ...], np.ndarray]) -> None:
    shape, nonzero = case
    rows, columns = encoding._matrix(shape)
    codes = {
        "bitmask": encoding._bitmask(rows * columns, nonzero),
        "gaps": encoding._gaps(nonzero),
        "columns": encoding._columns(rows, columns, nonzero),
    }
    for name, code in codes.items():
        np.testing.assert_array_equal(decode(name, shape, code), nonzero, err_msg=name)  # type: ignore[arg-type]


def random_places(size: int, density: float) -> np.ndarray:
    return np.random.default_rng(0).random(size).__lt__(density).nonzero()[0]


@pytest.mark.parametrize("density", [0.005, 0.01, 0.05, 0.1, 0.2])
def test_sizes_are_those_of_the_formulas(density: float) -> None:
    rows, columns = 768, 512
    size = rows * columns
    nonzero = random_places(size, density)
    count = nonzero.size
    assert encoding._bitmask(size, nonzero).size == math.ceil(size / 8)
    assert encoding._columns(rows, columns, nonzero).size == 2 * count + 2 * rows
    q = (1 - density) ** 255
    expected = count * (1 + q / (1 - q))  # one byte a value, and an escape for each 255 zeros
    assert encoding._gaps(nonzero).size == pytest.approx(expected, rel=0.02)


def test_the_smallest_one_is_chosen_at_each_density() -> None:
    size = (768, 512)
    chosen = {p: encode(size, random_places(768 * 512, p), 2).encoding for p in (0.01, 0.05, 0.3)}
    assert chosen == {0.01: "gaps", 0.05: "gaps", 0.3: "bitmask"}
    whole = np.arange(3 * 512, 9 * 512)
    assert encode(size, whole, 4).encoding == "channels"
    assert encode(size, whole, 4).code.size == 4 * 6


def test_places_outside_of_the_tensor_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        decode("gaps", (2, 2), np.array([200], np.uint8))
    with pytest.raises(ValueError, match="another number"):
        decode("columns", (2, 2), np.array([3, 0, 0, 0, 1, 0], np.uint8))
