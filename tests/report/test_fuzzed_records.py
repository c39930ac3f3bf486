"""Mutated records are left out in one line or tabulated, plotted and compared, and never take a sound one with them."""

from pathlib import Path

from fuzzing.records import attempt_record, sound_record

INPUTS = 150
"""With the same seeds always; `benchmarks/mutated_inputs.py` tries more."""


def test_no_mutated_record_escapes(tmp_path: Path) -> None:
    sound = sound_record(Path(__file__).resolve().parents[2])
    outcomes = [attempt_record(sound, seed, tmp_path) for seed in range(INPUTS)]
    assert INPUTS // 3 < sum(outcome != "read" for outcome in outcomes) < INPUTS, "some are refused, some are read"
