"""Trackers: what TensorBoard shows is what the events say, and a tracker that fails ends no run."""

from pathlib import Path

import pytest

from harness.config import RunConfig
from harness.errors import UsageError
from harness.events import EVENTS_NAME, read_events
from harness.run import run
from harness.run.track import TrackerFault, check_trackers

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")


def config(golden: Path, out: Path, **changes: object) -> RunConfig:
    data = {"dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["semseg", "depth"], "device": "cpu"}
    fields = {"method": ["multi-task"], **data, "iterations": 2, "probe": ["none"], "output": out, "quiet": True}
    return RunConfig(**(fields | {"track": ["tensorboard"]} | changes))


def test_tensorboard_shows_what_the_events_say(golden: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [record] = run(config(golden, tmp_path)).records
    shown = EventAccumulator(str(tmp_path / "track" / record.run_id))
    shown.Reload()
    trained = [event for event in read_events(tmp_path / record.run_id / EVENTS_NAME) if event["event"] == "train"]
    points = {point.step: point.value for point in shown.Scalars("joint/loss")}
    assert points == pytest.approx({event["iteration"]: event["loss"] for event in trained})
    of_depth = {point.step: point.value for point in shown.Scalars("joint/loss of depth")}
    assert of_depth == pytest.approx({event["iteration"]: event["losses"]["depth"] for event in trained})
    assert {"joint/lr", "metrics/semseg miou", "metrics/depth rmse"} <= set(shown.Tags()["scalars"])
    [point] = shown.Scalars("metrics/depth rmse")
    assert point.value == pytest.approx(record.metrics["depth"]["rmse"].value)
    assert record.config["track"] == ["tensorboard"]


def test_a_tracker_that_fails_ends_no_run(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.tracking import TensorBoardTracker

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("the server is away")

    monkeypatch.setattr(TensorBoardTracker, "log", fail)
    with pytest.warns(TrackerFault, match="tracker tensorboard gets nothing any more .*the server is away"):
        [record] = run(config(golden, tmp_path)).records
    assert record.status == "complete"


def test_unknown_and_missing_trackers_are_named(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord'; did you mean tensorboard"):
        run(config(golden, tmp_path, track=["tensorbord"]))
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    with pytest.raises(UsageError, match="--track tensorboard: is not installed"):
        check_trackers(["tensorboard"])
    monkeypatch.setitem(__import__("sys").modules, "accelerate.tracking", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-harness\[track\]'"):
        check_trackers(["tensorboard"])
