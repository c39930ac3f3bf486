"""Mutated predictions are scored or named in one line each, and never take the sound ones with them."""

import shutil
from pathlib import Path

import pytest
from fuzzing.predictions import attempt_predictions, sound_predictions

from harness.registry import load_dataset

ROUNDS = 40
"""Of each data set, with the same seeds always; all files but one of every task are mutated in each."""


@pytest.mark.filterwarnings("ignore")  # decoders warn about odd but readable files
@pytest.mark.parametrize(("name", "folder"), [("nyud", "mini_NYUDv2"), ("pascal-context", "mini_PASCALContext")])
def test_no_mutated_prediction_escapes(tmp_path: Path, golden: Path, name: str, folder: str) -> None:
    dataset, root, sound = load_dataset(name), golden / folder, tmp_path / "sound"
    sound_predictions(dataset, root, sound)
    changed = said = 0
    for seed in range(ROUNDS):
        if seed == 1:  # starting the boundary workers takes longer than all the rest: the reader is saliency's
            shutil.rmtree(sound / "boundary")
        files, lines = attempt_predictions(dataset, root, sound, seed, tmp_path)
        changed, said = changed + files, said + lines
    assert changed >= 120
    assert said > changed // 4  # the mutations bite
