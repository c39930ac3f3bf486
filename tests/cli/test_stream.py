"""``harness stream``: folders, files, rendered clips; what is written, and what is wrong in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.cli.main import cli, exit_code
from harness.data.video import VideoFile, write_video
from harness.method import save_artifact
from harness.methods.share import Share
from harness.methods.share.options import ShareOptions
from harness.problem import Problem, TaskSpec
from harness.records.stream import read_stream_record

pytestmark = pytest.mark.xdist_group("stream")  # its tests share what they are made from

PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth")), (48, 64))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    method, folder = Share(ShareOptions(), "vit-micro"), tmp_path_factory.mktemp("stream") / "artifact"
    folder.mkdir()
    save_artifact(method, method.Accounting(method).untrained(PROBLEM).eval(), folder)
    return folder


def pictures(count: int = 5, size: tuple[int, int] = (40, 60)) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    still = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
    found = []
    for index in range(count):
        moved = still.copy()
        moved[10:20, 5 + 2 * index : 15 + 2 * index] = 255
        found.append(moved)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "frames"
    place.mkdir()
    for index, picture in enumerate(pictures(12)):
        Image.fromarray(picture).save(place / f"frame{index}.png")  # frame10 follows frame9
    return place


def run(*arguments: object) -> int:
    words = ["stream", *map(str, arguments), "--device", "cpu"]
    return exit_code(lambda: cli.main(args=words, prog_name="harness", standalone_mode=False))


def test_a_folder_gives_an_overlay_a_sheet_and_an_account(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    out = tmp_path / "out"
    assert run(artifact, folder, "-o", out, "--threshold", 0.1, "--against", "dense") == 0
    printed = capsys.readouterr()
    assert "12 frames, 0 dropped; full: {'first': 1}" in printed.out
    assert "p99" in printed.out
    assert "frame 0:" in printed.err
    frames = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [frame["index"] for frame in frames] == list(range(12))
    assert [frame["kind"] for frame in frames] == ["full:first"] + ["partial"] * 11
    assert sum(frames[0]["macs"].values()) > sum(frames[1]["macs"].values())
    overlay = [picture for _, picture in VideoFile(out / "overlay.mp4")]
    assert len(overlay) == 12
    # A strip below; three columns of panels 240 pixels wide, two rows.
    assert overlay[0].shape == (2 * (160 + 18) + 90, 720, 3)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (4 * 240, 8 * (160 + 18))
    record = read_stream_record(out)
    assert (record.status, record.frames, record.source_kind, record.lossless) == ("complete", 12, "folder", True)
    assert record.macs is not None
    assert record.macs.mean is not None
    assert record.macs.partial < record.macs.mean < record.macs.full == record.macs.dense
    assert record.off_dense["depth"].value is not None
    assert record.policy["threshold"] == 0.1


def test_a_file_plays_like_the_folder_it_was_made_of(artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    file = tmp_path / "clip.mkv"
    write_video(file, pictures(), 30, lossless=True)
    assert run(artifact, file, "-o", tmp_path / "file", "--format", "sheet", "-q") == 0
    record = read_stream_record(tmp_path / "file")
    assert (record.frames, record.source_kind) == (5, "file")
    assert record.times is not None
    assert record.times.deadline_fps == 30
    assert not (tmp_path / "file" / "overlay.mp4").exists()


def test_json_is_the_record_alone(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(artifact, folder, "-o", tmp_path / "o", "--format", "none", "-f", "json", "--max-frames", 3, "--every", 2)
        == 0
    )
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    frames = [json.loads(line) for line in (tmp_path / "o" / "frames.jsonl").read_text().splitlines()]
    assert [frame["index"] for frame in frames] == [0, 2, 4]


def test_a_rendered_clip(artifact: Path, tmp_path: Path) -> None:
    assert run(artifact, "synth:static:1", "-o", tmp_path / "o", "--format", "sheet", "--max-frames", 2) == 0
    assert read_stream_record(tmp_path / "o").source_kind == "synthetic"


def test_another_size_within_a_folder_restarts(artifact: Path, folder: Path, tmp_path: Path) -> None:
    Image.fromarray(pictures(1, (30, 44))[0]).save(folder / "frame6.png")
    assert run(artifact, folder, "-o", tmp_path / "o", "--format", "none", "--max-frames", 9) == 0
    lines = (tmp_path / "o" / "frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines][5:8] == ["partial", "full:resize", "full:resize"]


def test_a_file_that_breaks_off_keeps_what_was_done(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    file = tmp_path / "cut.mkv"
    draw = np.random.default_rng(0)
    write_video(file, (draw.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(30)), 10, lossless=True)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run(artifact, file, "-o", tmp_path / "o", "--format", "none") == 3
    assert "breaks off after" in capsys.readouterr().err
    record = read_stream_record(tmp_path / "o")
    assert record.status == "partial"
    assert 0 < record.frames < 30
    assert "breaks off" in (record.failure or "")


def test_an_interrupted_stream_finishes_its_files(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.stream import play

    served = play.Player._serve

    def serve(self: play.Player, number: int, *rest: object) -> object:
        if number == 4:
            raise KeyboardInterrupt
        return served(self, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(play.Player, "_serve", serve)
    assert run(artifact, folder, "-o", tmp_path / "o", "--format", "sheet") == 130
    record = read_stream_record(tmp_path / "o")
    assert (record.status, record.frames, record.failure) == ("partial", 4, "interrupted")
    assert (tmp_path / "o" / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("source", "options", "code", "message"),
    [
        ("nowhere", [], 3, "there is no such folder or file"),
        ("camera:98", [], 2, "camera:98: there is no /dev/video98"),
        ("camera:x", [], 2, "a camera is named by its number"),
        ("synth:jump:3", [], 2, "write synth:KIND:ROOM"),
        (".", [], 3, "the folder holds no image"),
        (".", ["--keyframes", "often"], 2, "keyframes: must be first, adaptive"),
        (".", ["-t", "normals"], 2, "unknown task 'normals'"),
        (".", ["--set", "rowz=1"], 2, "rowz: there is no such field"),
    ],
)
def test_bad_input_is_one_line(
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    options: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(artifact, source, *options) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_pyav_a_sheet_needs_none(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(artifact, folder, "-o", tmp_path / "o") == 2
    assert "pip install 'mtl-harness[video]', or give a folder of images" in capsys.readouterr().err
    assert run(artifact, folder, "-o", tmp_path / "o", "--format", "sheet", "--max-frames", 1, "-q") == 0
