"""Mutated files of every kind are read or refused in one line: no other exception, no hang, nothing left outside."""

import pytest
from fuzzing.subjects import SUBJECTS, attempt

INPUTS = 60
"""Of each kind; with the same seeds always. A longer run is a matter of more seeds."""


@pytest.mark.filterwarnings("ignore")  # decoders warn about odd but readable files
@pytest.mark.parametrize("kind", SUBJECTS)
def test_no_mutated_file_escapes(tmp_path, kind):
    refused = 0
    for seed in range(INPUTS):
        refused += attempt(kind, seed, tmp_path) != "read"
    assert refused > INPUTS // 6  # the mutations bite


def test_the_same_seed_gives_the_same_input(tmp_path):
    attempt("png", 7, tmp_path)
    first = (tmp_path / "input").read_bytes()
    attempt("png", 8, tmp_path)
    attempt("png", 7, tmp_path)
    assert (tmp_path / "input").read_bytes() == first
