"""Ends of commands: signals, closed pipes, poor encodings and errors nobody foresaw."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.main import exit_code
from harness.errors import HarnessError

START = [sys.executable, "-m", "harness"]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


def training(golden: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a long training and wait until it has begun."""
    data = ["-d", "nyud", "--data-root", str(golden / "mini_NYUDv2"), "-t", "depth"]
    command = [
        "run",
        "-m",
        "multi-task",
        *data,
        "--iterations",
        "100000",
        "--probe",
        "none",
        "-q",
        "--save-every",
        "0.5",
    ]
    process = subprocess.Popen(
        [*START, *command, "-o", str(folder), *options],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    deadline = time.monotonic() + 120
    while not list(folder.rglob("checkpoint.pt")):
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_saves_the_training_and_says_how_to_go_on(
    name: str, workers: int, golden: Path, tmp_path: Path
) -> None:
    process = training(golden, tmp_path, "--workers", str(workers))
    (checkpoint,) = tmp_path.rglob("checkpoint.pt")
    before = checkpoint.stat().st_mtime_ns
    # As Slurm and a terminal do: to the main process and its children.
    os.killpg(process.pid, getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.strip() == f"harness: terminated by {name}; repeat the command to go on where it stopped"
    assert checkpoint.stat().st_mtime_ns > before
    assert '"status": "partial"' in next(tmp_path.rglob("record.json")).read_text()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_second_signal_ends_at_once(golden: Path, tmp_path: Path) -> None:
    process = training(golden, tmp_path)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_an_interruption_is_another_code(golden: Path, tmp_path: Path) -> None:
    process = training(golden, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_what_an_encoding_lacks_is_replaced(encoding: str) -> None:
    command = [*START, "table", "--published"]
    result = subprocess.run(command, env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout


@pytest.mark.parametrize(
    "arguments",
    ["table --published --style wide -f json", "table --published", "ls methods", "table --help"],
)
def test_a_closed_pipe_ends_quietly(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # gone before the first byte, so that no timing decides
    result = subprocess.run(
        [*START, *arguments.split()], env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


def test_an_error_nobody_foresaw_is_one_line_and_a_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))

    def fail() -> None:
        raise ZeroDivisionError("of nothing\nsecond line")

    assert exit_code(fail) == 70
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in line
    assert "ZeroDivisionError: of nothing" in line
    text = log.read_text()
    assert "Traceback" in text
    assert text.startswith("command: ")


def test_an_unusable_cache_leaves_the_log_in_the_temporary_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "/dev/null/cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert exit_code(lambda: {}["x"]) == 70
    (log,) = tmp_path.iterdir()
    assert str(log) in capsys.readouterr().err


def test_no_error_has_the_code_of_a_regression(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [HarnessError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        assert kind.exit_code != 1

    def leave() -> None:
        sys.exit(0)

    assert exit_code(leave) == 4
    assert "sys.exit(0)" in capsys.readouterr().err
