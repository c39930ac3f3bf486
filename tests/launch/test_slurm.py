"""Jobs by submitit: real ones on this machine, in processes that are forked, for the imports take longer than cells."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from cells import MOODY, config, results

from harness.cli.main import cli, exit_code
from harness.errors import UsageError
from harness.events import EVENTS_NAME, read_events
from harness.launch import local, slurm
from harness.launch.plan import plan
from harness.launch.start import launch
from harness.progress import RunProgress
from harness.run import run

pytest.importorskip("submitit")

CLIENT = """
import json, os, signal, socket, sys

link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: link.sendall(b"end\\n"))
link.sendall((json.dumps(sys.argv[2:]) + "\\n").encode())
code = int(link.makefile().readline())
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
"""Stands for the harness in a job: hands its command over to the server below and ends like it."""


def serve(link: socket.socket, log: Path, started: list[tuple[list[str], BaseProcess]]) -> None:
    lines = link.makefile()
    words = json.loads(lines.readline())
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    name = words[-1].replace("/", "of")
    folder = Path(words[words.index("-C") + 1])
    log = folder.with_suffix(".last.log" if "collect" in name else f".{name.partition('of')[0]}.log")
    process = local._context().Process(target=local._work, args=(["harness", *words], environment, log))
    process.start()
    started.append((words, process))

    def asked() -> None:
        for _ in lines:
            process.terminate()

    threading.Thread(target=asked, daemon=True).start()
    process.join()
    link.sendall(f"{process.exitcode}\n".encode())


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[list[str], BaseProcess]]]:
    """Have jobs fork their commands from this process; return those that were started."""
    client, place = tmp_path / "client.py", tmp_path / "socket"
    client.write_text(CLIENT)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(place))
    server.listen()
    found: list[tuple[list[str], BaseProcess]] = []

    def accept() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link, tmp_path, found), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    monkeypatch.setattr(slurm, "PROGRAM", (sys.executable, str(client), str(place)))
    monkeypatch.setattr(slurm, "_LOOK", 0.1)
    yield found
    server.close()


def test_jobs_that_are_preempted_killed_or_fail_give_the_serial_records(
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    started: list[tuple[list[str], BaseProcess]],
) -> None:
    plugin = tmp_path / "moody.py"
    plugin.write_text(MOODY)
    cells = {"method": ["moody"], "seed": [0, 1, 2], "plugin": [str(plugin)], "iterations": 8}
    settings = config(golden, tmp_path / "jobs", **cells)
    monkeypatch.setenv("STEP_SECONDS", "0.2")
    original = slurm._submit

    def submit(executor: Any, work: Any, before: Any) -> Any:
        job = original(executor, work, before)
        if work.cell < 2:
            threading.Thread(target=disturb, args=(job, work.cell), daemon=True).start()
        return job

    def disturb(job: Any, cell: int) -> None:
        """Preempt the first cell in its training, and kill the second one."""
        while True:
            time.sleep(0.05)
            for file in settings.output.rglob(EVENTS_NAME):
                if f".seed{cell}." in file.parent.name and any("lr" in event for event in read_events(file)):
                    [process] = [one for words, one in started if words[-1] == f"{cell}/3"]
                    if cell == 0:  # as a cluster does before the end of the time; not the controller around it
                        [task] = psutil.Process(job._process.pid).children()
                        task.send_signal(signal.SIGUSR2)
                    else:
                        process.kill()
                    return

    monkeypatch.setattr(slurm, "_submit", submit)
    words = ["run", "-C", str(tmp_path / "matrix.yaml"), "--launcher", "slurm", "--launcher-arg", "cluster=local"]
    (tmp_path / "matrix.yaml").write_text(settings.model_dump_json())
    code = exit_code(lambda: cli.main([*words, "--jobs", "3"], prog_name="harness", standalone_mode=False))
    shown = capfd.readouterr()
    assert code == 4
    assert "moody on nyud, seed 2: moody on nyud, seed 2: RuntimeError: never works; see " in shown.err
    assert "nyud (real images" in shown.out, "the table that the last job printed"
    # The first cell saved its state and was requeued, the second one started again after its death.
    assert [sum(words[-1] == f"{cell}/3" for words, _ in started) for cell in range(3)] == [2, 2, 1]
    assert [process.exitcode for words, process in started if words[-1] == "0/3"] == [143, 0]
    assert [words[-1] for words, _ in started][-1] == "--collect"
    monkeypatch.setenv("STEP_SECONDS", "0")
    serial = run(config(golden, tmp_path / "serial", **cells))
    assert len(serial.records) == 2
    assert results(tmp_path / "jobs") == results(tmp_path / "serial")


def test_a_queue_of_slurm_takes_the_order_of_the_jobs(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Job:
        def __init__(self, number: int) -> None:
            self.job_id = str(number)

        def done(self) -> bool:
            return True

        def result(self) -> int:
            return 0

    class Executor:
        cluster = "slurm"

        def __init__(self) -> None:
            self.after: list[dict[str, str]] = []

        def update_parameters(self, slurm_additional_parameters: dict[str, str]) -> None:
            self.after.append(slurm_additional_parameters)

        def submit(self, command: slurm.Command) -> Job:
            return Job(len(self.after))

    executor = Executor()
    monkeypatch.setattr(slurm, "_executor", lambda *_: executor)
    planned = plan(config(golden, tmp_path, seed=[0, 1, 2]))
    assert slurm.run_on_slurm(planned, 2, {}, RunProgress(quiet=True)) == {}
    assert executor.after == [{}, {}, {"dependency": "afterany:1"}, {"dependency": "afterany:1:2:3"}]


def test_what_submitit_refuses_is_one_line(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(golden, tmp_path)
    for wrong, said in (({"cluster": "nowhere"}, "nowhere"), ({"cluster": "local", "colour": 1}, "colour")):
        with pytest.raises(UsageError, match=f"--launcher slurm: .*{said}"):
            launch(settings, "slurm", None, wrong)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-harness\[slurm\]'"):
        launch(settings, "slurm", None, {})
    with pytest.raises(UsageError, match="--launcher local takes none"):
        launch(settings, "local", None, {"gpus": 1})
