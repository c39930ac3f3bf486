"""A matrix in processes side by side: the records of a serial one, with workers killed and cells that fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.config import RunConfig
from harness.errors import MethodError, UsageError
from harness.files import locked
from harness.launch import local
from harness.launch.local import cell_names, parse_shard, run_locally
from harness.progress import RunProgress
from harness.records import Record, find_records
from harness.run import run

BROKEN = """
from harness.baselines.multi_task import MultiTask

class Broken(MultiTask):
    name = "broken"

    def build(self, problem):
        raise RuntimeError("never works")
"""


def config(golden: Path, out: Path, **changes: object) -> RunConfig:
    fields = {"method": ["multi-task"], "dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["depth"]}
    fields |= {"iterations": 3, "probe": ["none"], "output": out, "quiet": True, "seed": [0, 1], "device": "cpu"}
    return RunConfig(**(fields | changes))


def results(out: Path) -> dict[str, tuple[Record, bytes]]:
    found = {}
    for record in find_records(out):
        if record.status != "complete":
            continue
        weights = (out / record.run_id / "artifact" / "model.safetensors").read_bytes()
        found[record.run_id] = (record, weights)
    return found


def test_cells_side_by_side_are_those_of_a_serial_matrix_though_a_worker_is_killed_and_one_cell_fails(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    monkeypatch.setenv("OMP_NUM_THREADS", str(os.environ.get("OMP_NUM_THREADS", 1)))
    settings = config(golden, tmp_path / "side", plugin=[str(plugin)], method=["multi-task", "broken"], seed=[1])
    original, killed = local._start, []

    def start(*arguments: object) -> object:
        job = original(*arguments)  # type: ignore[arg-type]
        if not killed:
            killed.append(job.number)
            job.process.send_signal(signal.SIGKILL)
        return job

    monkeypatch.setattr(local, "_start", start)
    failures = run_locally(settings, 2, RunProgress(quiet=True))
    assert killed == [0]
    assert list(failures) == [1], "the second method"
    assert isinstance(failures[1], MethodError)
    assert "RuntimeError: never works" in str(failures[1])
    outcome = run(settings, failed=failures)
    assert [error.exit_code for _, error in outcome.failures] == [4]
    serial = run(config(golden, tmp_path / "serial", seed=[1]))
    assert [record.run_id for record in outcome.records] == [record.run_id for record in serial.records]
    ours, theirs = results(tmp_path / "side"), results(tmp_path / "serial")
    for run_id, (record, weights) in theirs.items():
        assert ours[run_id][1] == weights
        assert ours[run_id][0].metrics == record.metrics
        assert ours[run_id][0].training == record.training


def test_shards_cover_the_matrix_once_and_the_last_command_reads_them(golden: Path, tmp_path: Path) -> None:
    settings = config(golden, tmp_path, seed=[0, 1, 2], iterations=1)
    assert cell_names(settings) == [f"multi-task on nyud, seed {seed}" for seed in (0, 1, 2)]
    seeds = [[record.seed for record in run(settings, (number, 2)).records] for number in (0, 1)]
    assert seeds == [[0, 2], [1]]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert before == {}
    assert [record.seed for record in run(settings).records] == [0, 1, 2]
    for text in ("3/3", "1", "a/b", "-1/2", "1/0"):
        with pytest.raises(UsageError, match="must be i/n"):
            parse_shard(text)


def test_a_folder_at_work_elsewhere_is_waited_for(tmp_path: Path) -> None:
    program = "import sys, time\nfrom pathlib import Path\nfrom harness.files import locked\n"
    program += "with locked(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(1)\n"
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(UsageError, match="another process is running this"), locked(tmp_path):
        pass
    said: list[float] = []
    with locked(tmp_path, lambda: said.append(time.monotonic())):
        assert other.wait() == 0
    assert len(said) == 1
