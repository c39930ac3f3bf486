"""A cell in two processes from the command line: killed at any moment it goes on, and the lost process is named."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.config import RunConfig
from harness.records import Record, find_records
from harness.run import run

pytestmark = pytest.mark.xdist_group("cell")  # its tests share what they are made from

BASE = ["run", "-m", "multi-task", "-d", "nyud", "-t", "semseg", "-t", "depth", "--iterations", "10", "--device", "cpu"]


def start(golden: Path, out: Path, world: int = 2, **variables: str) -> list[subprocess.Popen[str]]:
    """Start the processes as a launcher does: the same command, with their numbers in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = ["--data-root", str(golden / "mini_NYUDv2"), "--probe", "storage", "--save-every", "0", "-o", str(out)]
    root += ["--save-predictions", str(out / "predictions"), "--batch-size", "1"]
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "harness", *BASE, *root],
            env=os.environ | shared | {"RANK": str(rank), "HARNESS_PROCESS_TIMEOUT": "120"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    ends = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "artifact").iterdir())}


@pytest.fixture(scope="module")
def undisturbed(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    out = tmp_path_factory.mktemp("undisturbed")
    ends = finish(start(golden, out))
    assert [code for code, *_ in ends] == [0, 0], ends
    assert "multi-task" in ends[0][1], "the table"
    assert ends[1][1] == "", "one process speaks"
    [record] = find_records(out)
    return record, out


def test_metrics_values_of_images_and_predictions_are_those_of_one_process(
    undisturbed: tuple[Record, Path], golden: Path, tmp_path: Path
) -> None:
    record, out = undisturbed
    data = {"dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["semseg", "depth"], "batch_size": 1}
    own = {"checkpoint": out / record.run_id / "artifact", "save_predictions": tmp_path / "predictions"}
    settings = {"method": ["multi-task"], "probe": ["none"], "output": tmp_path, "device": "cpu", "quiet": True}
    [alone] = run(RunConfig(**data, **own, **settings)).records
    assert alone.metrics == record.metrics
    for pattern in ("predictions/*/*", "nyud/*/per-image.parquet"):
        ours, theirs = sorted(out.glob(pattern)), sorted(tmp_path.glob(pattern))
        assert ours
        assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in theirs], pattern


def test_the_record_says_how_many_there_were(undisturbed: tuple[Record, Path]) -> None:
    record, _ = undisturbed
    assert record.environment["processes"] == {"world": 2, "backend": "gloo", "launcher": "environment"}
    assert record.status == "complete"
    assert record.storage is not None


def test_a_process_that_is_ended_is_named_and_the_repeated_command_goes_on(
    undisturbed: tuple[Record, Path], golden: Path, tmp_path: Path
) -> None:
    record, out = undisturbed
    folder = tmp_path / record.run_id
    killed = end_one(start(golden, tmp_path), folder, 1, signal.SIGKILL)
    assert killed[0][0] == 4, killed
    assert "process 1 of 2 died" in killed[0][2]
    assert "Traceback" not in killed[0][2]
    terminated = end_one(start(golden, tmp_path), folder, 0, signal.SIGTERM)
    assert [code for code, *_ in terminated] == [143, 143], terminated
    ends = finish(start(golden, tmp_path))
    assert [code for code, *_ in ends] == [0, 0], ends
    [again] = find_records(tmp_path)
    assert again.metrics == record.metrics
    assert any(phase.resumed for phase in again.phases)
    assert files(folder) == files(out / record.run_id)


def end_one(
    processes: list[subprocess.Popen[str]], folder: Path, victim: int, number: signal.Signals
) -> list[tuple[int, str, str]]:
    """Send a signal to one process when a step has been saved, and wait for all."""
    checkpoint, begun = folder / "checkpoint.pt", time.time()
    while processes[0].poll() is None and not (checkpoint.is_file() and checkpoint.stat().st_mtime > begun):
        time.sleep(0.01)
    processes[victim].send_signal(number)
    return finish(processes)
