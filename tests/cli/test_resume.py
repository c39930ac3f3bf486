"""A run killed at any moment goes on when the command is repeated, and ends with the same figures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records import Record, find_records

pytestmark = pytest.mark.xdist_group("resume")  # its tests share what they are made from


def command(golden: Path, out: Path) -> list[str]:
    options = ["-m", "single-task", "-d", "nyud", "-t", "semseg", "-t", "depth", "--iterations", "12"]
    options += ["--probe", "storage"]
    root = ["--data-root", str(golden / "mini_NYUDv2"), "--save-every", "0", "--device", "cpu", "-o", str(out)]
    return [sys.executable, "-m", "harness", "run", *options, *root]


def finish(golden: Path, out: Path) -> Record:
    done = subprocess.run(command(golden, out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [record] = find_records(out)
    return record


def kill_when(golden: Path, out: Path, ready: object) -> bool:
    """Start the command and kill it once ``ready(folder of the run)``; return whether it was still running."""
    process = subprocess.Popen(command(golden, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(ready(path.parent) for path in out.rglob("record.json")):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait() == -signal.SIGKILL


def moments(folder: Path) -> dict[str, bool]:
    return {
        "at the start": True,
        "while training": (folder / "checkpoint.pt").is_file(),
        "while saving": (folder / "artifact.unfinished").is_dir(),
        "after training": (folder / "artifact").is_dir(),
    }


@pytest.fixture(scope="module")
def undisturbed(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return finish(golden, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("schedule", [["while training"] * 3, ["at the start", "while saving", "after training"]])
def test_killed_and_repeated(schedule: list[str], undisturbed: Record, golden: Path, tmp_path: Path) -> None:
    kills = [kill_when(golden, tmp_path, lambda folder, m=moment: moments(folder)[m]) for moment in schedule]
    assert any(kills)
    record = finish(golden, tmp_path)
    assert record.metrics == undisturbed.metrics
    assert record.status == "complete"
    assert record.run_id == undisturbed.run_id
    if schedule[0] == "while training":
        assert any(phase.resumed for phase in record.phases)
    folder = tmp_path / record.run_id
    left = {path.name for path in folder.iterdir()}
    assert left <= {
        ".lock",
        "record.json",
        "artifact",
        "predictions.png",
        "events.jsonl",
        "curves.png",
        "per-image.parquet",
    }, left


def test_two_processes_do_not_run_the_same_cell_at_once(golden: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(command(golden, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not any(tmp_path.rglob("checkpoint.pt")):
        time.sleep(0.002)
    second = subprocess.run(command(golden, tmp_path), capture_output=True, text=True)
    assert first.wait() == 0
    if second.returncode:  # the second came while the first held the lock
        assert second.returncode == 2
        assert "another process is running this" in second.stderr
    assert [record.status for record in find_records(tmp_path)] == ["complete"]
