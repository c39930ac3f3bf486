"""Loader processes that die or get no shared memory end a run with one line, soon."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from harness.data.loading import _load, loader_fault
from harness.data.sample import Batch
from harness.errors import DataError, MethodError


class Scenes:
    """Batches of zeros; what happens at the third is a callable."""

    def __init__(self, third: object) -> None:
        self.third = third

    def __getitem__(self, index: int) -> Batch:
        if index == 2:
            self.third()
        return Batch([str(index)], torch.zeros(1, 3, 8, 8), {"depth": torch.zeros(1, 1, 8, 8)}, [(8, 8)], [(0, 0)])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def forget() -> None:
    raise KeyError("depth")


def refuse() -> None:
    raise DataError("scene 2 is damaged")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch raises in whatever code runs
@pytest.mark.parametrize("third", [die, leave])
def test_a_worker_that_dies_is_one_line_within_ten_seconds(third: object) -> None:
    start = time.monotonic()
    with pytest.raises(MethodError) as caught:
        list(_load(Scenes(third), range(6), workers=2))
    assert time.monotonic() - start < 10
    assert "a process that loads images died" in str(caught.value)
    assert "--workers 0" in str(caught.value)
    assert "--shm-size" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("third", "kind", "text"), [(forget, MethodError, "KeyError"), (refuse, DataError, "scene 2")])
def test_other_errors_of_a_worker_keep_their_kind(third: object, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        list(_load(Scenes(third), range(6), workers=1))


def test_other_errors_are_no_fault_of_workers() -> None:
    assert loader_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):  # it ended meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_killed_worker_of_a_run_is_no_failure_of_the_method(golden: Path, tmp_path: Path) -> None:
    options = ["-m", "multi-task", "-t", "depth", "--workers", "2", "--iterations", "5000", "--probe", "none", "-q"]
    data = ["-d", "nyud", "--data-root", str(golden / "mini_NYUDv2"), "--device", "cpu", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "harness", "run", *options, *data, "--save-every", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(240, process.kill)
    watch.start()
    while not list(tmp_path.rglob("checkpoint.pt")) and process.poll() is None:
        time.sleep(0.05)
    workers = children_of(process.pid)
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate()
    watch.cancel()
    assert time.monotonic() - killed < 10
    assert process.returncode == 4, errors
    assert "a process that loads images died" in errors
    assert len(errors.strip().splitlines()) == 1, errors
