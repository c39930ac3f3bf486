"""A job computes what it depends on once, when it is made."""

from collections import Counter
from pathlib import Path

import pytest

from harness.baselines.multi_task import MultiTask
from harness.config import RunConfig
from harness.records import find_records
from harness.run import Outcome, run


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the recipes that are built and the artifacts that are hashed."""
    from harness.run import job

    counts: Counter[str] = Counter()
    stages, hashed = MultiTask.stages, job.digest_artifact

    def counting_stages(*arguments: object) -> object:
        counts["recipes"] += 1
        return stages(*arguments)

    def counting_digest(folder: Path) -> str:
        counts["hashes"] += 1
        return hashed(folder)

    monkeypatch.setattr(MultiTask, "stages", counting_stages)
    monkeypatch.setattr(job, "digest_artifact", counting_digest)
    return counts


def config(golden: Path, out: Path, **changes: object) -> RunConfig:
    fields = {"method": ["multi-task"], "dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["depth"]}
    return RunConfig(**(fields | {"iterations": 1, "probe": ["none"], "output": out, "quiet": True} | changes))


def test_a_training_run_builds_its_recipe_once_and_needs_no_command_line(golden: Path, tmp_path: Path, counted) -> None:
    outcome = run(config(golden, tmp_path))
    assert counted == {"recipes": 2}, "its own, and the full one, whose trainable parameters are counted"
    [record] = outcome.records
    assert record.command, "the command of this process"
    assert record.run_id == next(find_records(tmp_path)).run_id


def test_an_artifact_is_hashed_once_for_all_seeds(golden: Path, tmp_path: Path, counted) -> None:
    [trained] = run(config(golden, tmp_path / "trained")).records
    artifact = tmp_path / "trained" / trained.run_id / "artifact"
    counted.clear()
    outcome = run(config(golden, tmp_path / "loaded", checkpoint=artifact, seed=[0, 1], probe=["macs", "storage"]))
    assert counted["hashes"] == 1
    assert len(outcome.records) == 2


def test_one_class_holds_what_became_of_runs_and_of_measurements() -> None:
    from harness import measurement

    assert measurement.Outcome is Outcome
