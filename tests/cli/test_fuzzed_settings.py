"""Mutated settings end as settings or as one line: no other exception, no hang."""

from pathlib import Path

import pytest
from fuzzing.settings import attempt_options, attempt_plugin, attempt_yaml

INPUTS = 150
"""Of each kind, with the same seeds always; `benchmarks/mutated_inputs.py` tries more."""


def test_no_mutated_yaml_escapes(tmp_path: Path) -> None:
    assert sum(attempt_yaml(seed, tmp_path) != "read" for seed in range(INPUTS)) > INPUTS // 6


def test_no_odd_option_escapes() -> None:
    assert sum(attempt_options(seed) != "read" for seed in range(INPUTS)) > INPUTS // 6


@pytest.mark.filterwarnings("ignore")  # of the compiler, about odd but valid sources
def test_no_mutated_plug_in_escapes(tmp_path: Path) -> None:
    assert sum(attempt_plugin(seed, tmp_path) != "read" for seed in range(INPUTS)) > INPUTS // 6
