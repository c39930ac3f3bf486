"""``harness run`` on clips: still images as ever, and the same model through its stream, in a record of its own."""

import json
from pathlib import Path

import pytest
import torch

from harness.baselines.single_task import SingleTask
from harness.cli.main import cli, exit_code
from harness.datasets.nyud_synth_video import NYUDSynthVideo
from harness.datasets.synth.video import write_clips
from harness.method import save_artifact
from harness.problem import Problem, TaskSpec
from harness.records import find_records
from harness.records.stream import find_stream_records

pytestmark = pytest.mark.xdist_group("stream-run")  # its tests share what they are made from


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips") / "nyud-synth-video"
    names = NYUDSynthVideo().card.tasks["semseg"]
    write_clips(root, names, seed=0, train=1, rooms=1, size=(30, 40), kinds=("static", "fast"), frames=9)
    return root


def run(*words: object) -> int:
    arguments = ["run", "--probe", "none", "-q", "--device", "cpu", *map(str, words)]
    return exit_code(lambda: cli.main(args=arguments, prog_name="harness", standalone_mode=False))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose predictions follow its input, which those of an untrained head do not."""
    torch.manual_seed(0)
    method, folder = SingleTask(SingleTask.Options(), "vit-micro"), tmp_path_factory.mktemp("model") / "artifact"
    folder.mkdir()
    model = method.build(Problem((TaskSpec("semseg", 40), TaskSpec("depth")), (32, 48)))
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    save_artifact(method, model.eval(), folder)
    return folder


def test_clips_are_scored_through_the_stream(
    clips: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ("-m", "single-task", "-d", "nyud-synth-video", "--data-root", clips, "--checkpoint", artifact, "-o", out)
    assert run(*given, "-t", "semseg", "depth", "--set", "stream.mode=gated", "--set", "stream.rows=0.1") == 0
    [still], [streamed] = list(find_records(out)), find_stream_records(out)
    assert still.run_id == streamed.run_id
    assert still.phases[-1].name == "stream"
    assert (streamed.status, streamed.source_kind, streamed.frames) == ("complete", "dataset", 18)
    assert set(streamed.kinds) == {"all", "static", "fast"}
    assert streamed.policy["rows"] == 0.1
    static, fast = (streamed.kinds[kind] for kind in ("static", "fast"))
    assert {"semseg", "depth"} == set(static.metrics)
    assert static.off_dense["semseg"].value < fast.off_dense["semseg"].value
    assert static.streaming is not None
    assert static.streaming.fps == 30
    assert {"semseg", "depth"} == set(static.streaming.metrics)
    assert {"semseg.vc8@vspw", "semseg.vc8@all", "semseg.tc@exact", "depth.opw@exact"} <= set(static.consistency)
    assert streamed.macs is not None
    assert streamed.macs.counted
    assert streamed.macs.blocks_partial == pytest.approx(3 / 25)  # three of 25 tokens
    assert streamed.times is not None
    assert streamed.times.full is not None
    lines = [json.loads(line) for line in (out / streamed.run_id / "frames.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [*range(9), *range(9)]
    # Tables, pages and the gate know both, and never mix them.
    capsys.readouterr()
    assert harness("table", out, "--style", "wide") == 0
    tables = capsys.readouterr().out.split("\n\n")
    assert sum("Streams of nyud-synth-video, motion fast: 1 clips" in part for part in tables) == 1
    of_streams = [part for part in tables if "off dense ↓" in part]
    assert len(of_streams) == 3
    assert not any("Δm" in part for part in of_streams)
    assert harness("leaderboard", out, "-o", tmp_path / "site") == 0
    page = (tmp_path / "site" / "streams.html").read_text()
    assert page.count("<section") == 3
    assert "mode=gated rows=0.1" in page
    assert 'href="streams.html"' in (tmp_path / "site" / "index.html").read_text()
    assert harness("compare", out, out) == 0
    # A stream that got worse, though the still images did not.
    worse = json.loads((out / streamed.run_id / "stream.json").read_text())
    worse["kinds"]["fast"]["off_dense"]["semseg"]["value"] += 0.01
    (tmp_path / "worse").mkdir()
    (tmp_path / "worse" / "stream.json").write_text(json.dumps(worse))
    capsys.readouterr()
    assert harness("compare", out / streamed.run_id / "stream.json", tmp_path / "worse" / "stream.json") == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "fast: semseg off-dense" in printed
    assert "1 regression" in printed
    (tmp_path / "worse" / "stream.json").write_text("{}")
    assert harness("table", tmp_path / "worse" / "stream.json") == 2
    assert "damaged or of another version" in capsys.readouterr().err


def harness(*words: object) -> int:
    return exit_code(lambda: cli.main(args=[*map(str, words)], prog_name="harness", standalone_mode=False))


def test_a_wrong_setting_of_the_stream_is_named_before_anything_runs(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("-m", "single-task", "-d", "nyud-synth-video", "--data-root", clips, "-o", tmp_path / "out")
    assert run(*given, "--set", "stream.row=0.1") == 2
    assert "--set stream.row: there is no such field" in capsys.readouterr().err
    assert not list(find_records(tmp_path))
