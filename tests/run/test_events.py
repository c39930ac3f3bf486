"""Events of a run, what is drawn from them, and the states that `harness status` reads."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.main import cli
from harness.config import RunConfig
from harness.errors import UsageError
from harness.events import EVENTS_NAME, Events, last_events, read_events
from harness.progress import RunProgress
from harness.run import run
from harness.run.curves import read_curves, write_curves
from harness.run.status import STALE_SECONDS, statuses

pytestmark = pytest.mark.xdist_group("events")  # its tests share what they are made from


def write(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    event = {"event": "train", "time": time.time(), "host": platform.node(), "pid": os.getpid(), "stage": "joint"}
    event |= {"iteration": 20, "iterations": 340, "images_per_s": 12.5, "seconds_left": 60.0}
    with (folder / EVENTS_NAME).open("a") as file:
        file.write(json.dumps(event | changes) + "\n")


@pytest.fixture(scope="module")
def finished(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    data = {"dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["semseg", "depth"]}
    [record] = run(RunConfig(method=["multi-task"], **data, iterations=21, probe=["none"], output=out)).records
    return out / record.run_id


def test_a_run_leaves_its_losses_by_task_and_a_picture_of_them(finished: Path) -> None:
    events = list(read_events(finished / EVENTS_NAME))
    assert [event["event"] for event in events if event["event"] != "beat"][:3] == ["begin", "phase", "train"]
    assert events[0]["stages"] == [{"stage": "joint", "iterations": 21}]
    assert (events[-1]["event"], events[-1]["status"]) == ("end", "complete")
    assert all(event["host"] == platform.node() and event["pid"] == os.getpid() for event in events)
    trained = [event for event in events if event["event"] == "train"]
    assert (trained[0]["iteration"], trained[-1]["iteration"]) == (1, 21)
    for event in trained:
        assert set(event["losses"]) == {"semseg", "depth"}
        assert event["loss"] == pytest.approx(sum(event["losses"].values()), rel=1e-5)
        assert event["memory_bytes"] > 2**20
    curves = read_curves(finished)
    assert set(curves["joint"]) == {"total", "semseg", "depth"}
    assert (finished / "curves.png").stat().st_size > 1000
    [status] = statuses(finished.parents[1])
    assert (status.state, status.run_id) == ("done", f"nyud/{finished.name}")


def test_states_of_folders(finished: Path, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    write(tmp_path / "a" / "running")
    write(tmp_path / "a" / "killed", pid=int(gone.stdout))
    write(tmp_path / "b" / "elsewhere", host="node7", time=time.time() - STALE_SECONDS / 2)
    write(tmp_path / "b" / "silent", host="node7", time=time.time() - 2 * STALE_SECONDS)
    write(tmp_path / "c" / "failed", event="end", status="failed", failure="MethodError: no")
    write(tmp_path / "c" / "queued", event="queued")
    found = {one.run_id: one for one in statuses(tmp_path)}
    states = {name.split("/")[1]: one.state for name, one in found.items()}
    assert states == {
        **{"running": "running", "killed": "stale", "elsewhere": "running", "silent": "stale"},
        **{"failed": "failed", "queued": "queued"},
    }
    running = found["a/running"]
    assert (running.done, running.total, running.doing, running.left, running.rate) == (20, 340, "joint", 60.0, 12.5)
    assert found["a/killed"].left is None, "nobody works towards its end"
    assert found["c/failed"].note == "MethodError: no"


def test_the_command_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "nyud" / "one")
    cli.main(["status", str(tmp_path)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "1 running" in shown
    assert "20/340" in shown
    assert "1 min 0 s" in shown
    cli.main(["status", str(tmp_path), "-f", "json"], standalone_mode=False)
    [status] = json.loads(capsys.readouterr().out)
    assert (status["state"], status["left"]) == ("running", 60.0)
    with pytest.raises(UsageError, match="no such results folder"):
        cli.main(["status", str(tmp_path / "absent")], standalone_mode=False)


def test_damaged_lines_and_places_that_take_none_end_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / EVENTS_NAME).open("a") as file:
        file.write('[1]\n{"event": "tr')
    assert len(list(read_events(tmp_path / EVENTS_NAME))) == len(last_events(tmp_path / EVENTS_NAME)) == 1
    assert list(read_events(tmp_path / "absent")) == last_events(tmp_path / "absent") == []
    Events(tmp_path / "no folder" / EVENTS_NAME).write("begin")
    Events().write("begin")
    taken: list[dict[str, object]] = []
    Events(tmp_path / EVENTS_NAME, [taken.append]).write("phase", phase="load")
    assert taken[0]["phase"] == "load"


def test_resumed_steps_count_once_and_a_folder_without_training_has_no_picture(tmp_path: Path) -> None:
    for iteration, loss in ((1, 9.0), (21, 8.0), (41, 7.0), (21, 6.0), (41, 5.0)):
        write(tmp_path, iteration=iteration, loss=loss, losses={"depth": loss / 2})
    assert read_curves(tmp_path)["joint"]["depth"] == {1: 4.5, 21: 3.0, 41: 2.5}
    write_curves(tmp_path)
    assert (tmp_path / "curves.png").is_file()
    (tmp_path / "empty").mkdir()
    write_curves(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_lines_are_logged_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: float(next(clock)))
    with RunProgress(title="multi-task on nyud, seed 0:").bar("train joint", 100, unit="it") as report:
        for done in range(1, 12):
            report(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "harness: multi-task on nyud, seed 0: train joint 2 of 100, 0.167 it/s, 588 s left"
    assert len(lines) == 2
    with RunProgress(quiet=True).bar("train", 2) as report:
        report(1)
    RunProgress(quiet=True).say("nothing")
    assert capsys.readouterr().err == ""
