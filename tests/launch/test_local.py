"""A matrix in processes side by side: the records of a serial one, with workers killed and cells that fail."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pytest
import torch
from cells import MOODY, config, results

from harness import files
from harness.errors import UsageError
from harness.events import EVENTS_NAME, read_events
from harness.files import locked
from harness.launch import local
from harness.launch.local import run_locally
from harness.launch.plan import cell_names, parse_shard
from harness.progress import RunProgress
from harness.registry import load_plugin
from harness.run import run


def begun(out: Path) -> dict[str, int]:
    """Return how often every cell was begun."""
    files = sorted(out.rglob(EVENTS_NAME))
    return {file.parent.name: sum(one["event"] == "begin" for one in read_events(file)) for file in files}


def test_six_cells_by_two_launchers_with_a_worker_killed_and_a_cell_that_fails_are_the_serial_ones(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "moody.py"
    plugin.write_text(MOODY)
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    seeds = {"method": ["multi-task", "moody"], "seed": [0, 1, 2], "plugin": [str(plugin)]}
    settings = config(golden, tmp_path / "side", **seeds)
    original, killed, lock = local._start, [], threading.Lock()

    def start(*arguments: object) -> object:
        with lock:
            job = original(*arguments)  # type: ignore[arg-type]
            if not killed:
                killed.append(job.work.cell)
                os.kill(job.process.pid, signal.SIGKILL)
        return job

    monkeypatch.setattr(local, "_start", start)
    load_plugin(str(plugin))  # once, for two threads would both
    # 1. Two launchers at once, two processes each.
    with ThreadPoolExecutor(2) as launchers:
        tried = list(launchers.map(lambda _: run_locally(settings, 2, RunProgress(quiet=True)), range(2)))
    assert len(killed) == 1
    for failures in tried:
        assert [cell_names(settings)[number] for number in failures] == ["moody on nyud, seed 2"]
        assert "RuntimeError: never works" in str(failures[5])
    # 2. No cell twice: the one that fails is tried by both, the killed one may not have begun.
    counts = begun(tmp_path / "side")
    failed = [name for name in counts if name.startswith("moody") and ".seed2." in name]
    assert len(counts) == 6
    assert {count for name, count in counts.items() if name not in failed} == {1}
    # 3. The command itself reads them; its code is that of the cell that failed.
    outcome = run(settings, failed=tried[0])
    assert [(title, error.exit_code) for title, error in outcome.failures] == [("moody on nyud, seed 2:", 4)]
    assert len(outcome.records) == 5
    # 4. All as in one process.
    serial = run(config(golden, tmp_path / "serial", **seeds))
    assert [record.run_id for record in outcome.records] == [record.run_id for record in serial.records]
    ours, theirs = results(tmp_path / "side"), results(tmp_path / "serial")
    assert len(theirs) == 5
    assert ours == theirs


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


HOLDER = """
import errno, sys, time
from pathlib import Path
from filelock import _unix
from harness import files

def no_locks(handle):
    raise OSError(errno.ENOSYS, "no locks here")

_unix.lock_fd_nonblocking = no_locks
files.LEASE_SECONDS = 2.0
with files.locked(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_without_locks_of_the_disk_a_live_lease_is_waited_for_and_a_still_one_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int) -> bool:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr("filelock._unix.lock_fd_nonblocking", no_locks)
    monkeypatch.setattr(files, "LEASE_SECONDS", 2.0)
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdin is not None
    other.stdout.readline()
    # 1. Alive: its heartbeat goes on for longer than the lease.
    with pytest.raises(filelock.Timeout):
        filelock.SoftFileLease(tmp_path / ".lease", lease_duration=2.0).acquire(timeout=3)
    with pytest.raises(UsageError, match="another process is running this"), locked(tmp_path):
        pass
    # 2. Still, as a machine that is lost: the lease is taken over, and its holder ends when it wakes.
    other.send_signal(signal.SIGSTOP)
    said: list[None] = []
    with locked(tmp_path, lambda: said.append(None)):
        assert said == [None]
        other.send_signal(signal.SIGCONT)
        assert other.wait(20) == -signal.SIGTERM
    with locked(tmp_path):
        pass
