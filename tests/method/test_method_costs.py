"""Every registered method can be measured as `harness bench` measures it."""

from pathlib import Path

import pytest
import torch
from records import record

from harness.compute import Compute
from harness.measurement import Candidate, Inputs, Outcome, Setting, measure
from harness.method import accounting_of, save_artifact
from harness.probes.environment import environment, system_id
from harness.probes.rules import LatencyRules
from harness.problem import Problem, TaskSpec
from harness.progress import RunProgress
from harness.registry import load_method, names

CPU = torch.device("cpu")
PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth"), TaskSpec("boundary", tolerance=0.011)), (32, 48))


@pytest.mark.parametrize("name", names("methods"))
def test_is_counted_and_weighed_part_by_part_and_task_by_task(name: str, tmp_path: Path) -> None:
    cls = load_method(name)
    method = cls(cls.Options(), cls.default_backbone["quick"])
    torch.manual_seed(0)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    accounting = accounting_of(method)
    save_artifact(method, accounting.untrained(PROBLEM), artifact)
    empty = record(name, parameters=None, storage=None, system_id=system_id(environment()))
    candidate = Candidate(method, artifact, PROBLEM.names, empty, tmp_path / "run", ("macs", "storage"))
    images = [torch.randn(1, 3, *PROBLEM.input_size) for _ in range(2)]
    outcome = Outcome()
    setting = Setting(Compute(CPU), LatencyRules.for_device(CPU))
    measure([candidate], Inputs(lambda: images), setting, outcome, RunProgress(quiet=True))
    assert outcome == Outcome(), "counters agree, and nothing failed"

    macs, storage = candidate.record.macs, candidate.record.storage
    assert macs is not None
    assert macs.executed.n == (len(images) if accounting.data_dependent else 1)
    assert 0 < macs.executed.mean <= macs.dense.mean
    assert sum(macs.per_part.values()) == pytest.approx(macs.executed.mean)
    assert set(macs.per_task) == set(PROBLEM.names)
    assert max(macs.per_task.values()) <= macs.executed.mean
    assert storage is not None
    assert sum(storage.per_part.values()) == storage.artifact_bytes
    assert set(storage.marginal_bytes) == set(PROBLEM.names)
    assert candidate.record.parameters is not None
