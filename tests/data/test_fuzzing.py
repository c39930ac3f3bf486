"""Mutated files of every kind are read or refused in one line: no other exception, no hang, nothing left outside."""

import contextlib
import random
import shutil

import pytest
from fuzzing.mutate import mutated, mutated_mat, mutated_png
from fuzzing.subjects import SUBJECTS, attempt, time_limit

from harness.data.open import open_data
from harness.data.verify import verify
from harness.errors import DataError
from harness.protocol import Protocol

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


SETS = 25
"""Damaged copies of each tiny set."""


@pytest.mark.filterwarnings("ignore")
def test_no_damaged_set_escapes(mini, tmp_path):
    dataset, whole = mini
    refused = 0
    for seed in range(SETS):
        rng = random.Random(seed)
        root = tmp_path / f"set{seed}"
        shutil.copytree(whole, root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for path in rng.sample(files, rng.choice((1, 1, 2, 4))):
            below = {".png": mutated_png, ".mat": mutated_mat}.get(path.suffix, mutated)
            path.write_bytes(rng.choice((mutated, below))(path.read_bytes(), rng))
        with time_limit():
            assert all("\n" not in problem for problem in verify(dataset, root))
            with contextlib.suppress(DataError):
                list(open_data(dataset, root, (), Protocol(), None, training=True).val)
                refused -= 1
            refused += 1
    assert refused > SETS // 4
