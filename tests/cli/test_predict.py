"""``harness predict`` as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.cache import open_scenes
from harness.data.geometry import Pad
from harness.data.loading import eval_batches
from harness.datasets.nyud import NYUD
from harness.method import load_artifact
from harness.records import find_records
from harness.registry import load_method
from harness.tasks import build_task


@pytest.fixture
def artifact(harness, mini) -> Path:
    assert harness("run", "-m", "multi-task", *mini[:-2], "-o", "out").code == 0
    [record] = find_records(Path("out"))
    return Path("out") / record.run_id / "artifact"


def noise(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def test_a_folder_becomes_pictures_and_a_page_the_same_bytes_each_time(harness, artifact: Path) -> None:
    noise(Path("in/<b>.png"), (33, 21))
    noise(Path("in/grey.jpg"), (131, 47), "L")
    noise(Path("in/grey.png"), (5, 301), "RGBA")
    result = harness("predict", "-m", "multi-task", "--checkpoint", artifact, "in")
    assert result.code == 0, result.err
    assert result.out == "pictures/index.html\n"
    assert result.err == ""
    made = {path.name: path.read_bytes() for path in Path("pictures").iterdir()}
    assert sorted(made) == ["<b>.png", "grey-2.png", "grey.png", "index.html"]
    html = made["index.html"].decode()
    assert "<b>" not in html
    assert "&lt;b&gt;.png" in html
    assert "3 images without labels" in html
    assert str(Path.cwd()) not in html
    assert harness("predict", "--checkpoint", artifact, "in", "-o", "again").code == 0
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == made


def test_scenes_of_a_data_set_show_what_the_evaluation_scores(harness, artifact: Path, golden: Path) -> None:
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    result = harness("predict", "--checkpoint", artifact, *data, "--limit", 1, "-t", "semseg")
    assert result.code == 0, result.err
    dataset = NYUD()
    scenes = open_scenes(dataset, dataset.reader(golden / "mini_NYUDv2", "val"), ["semseg"], 1)
    manifest = json.loads((artifact / "artifact.json").read_text())
    method = load_method("multi-task")
    model = load_artifact(method(method.Options(), manifest["backbone"]), artifact).eval()
    pad = Pad(tuple(manifest["input_size"]))
    [batch] = eval_batches(scenes, pad, 1)
    with torch.inference_mode():
        raw = model(batch.images)["semseg"][0]
    size = scenes.sizes[0]
    task = build_task(dataset.tasks[0])
    wanted = task.picture(torch.from_numpy(pad.restore(raw.numpy(), size)))
    sheet = np.array(Image.open(f"pictures/{scenes.ids[0]}.png"))
    zoom = -(-400 // max(size))
    text = zoom * max(size) // 24
    left, top = text + zoom * size[1] + text, text + text * 3 // 2
    shown = sheet[top : top + zoom * size[0] : zoom, left : left + zoom * size[1] : zoom]
    np.testing.assert_array_equal(shown, wanted)
    html = Path("pictures/index.html").read_text()
    assert "1 image of the val split of nyud (real images)" in html
    assert "SemSeg: " in html
    assert "% wrong" in html


def test_labels_of_other_classes_are_not_compared(harness, artifact: Path, golden: Path) -> None:
    data = ("-d", "pascal-context", "--data-root", golden / "mini_PASCALContext")
    result = harness("predict", "--checkpoint", artifact, *data, "--split", "train", "--limit", 1)
    assert result.code == 0, result.err
    html = Path("pictures/index.html").read_text()
    assert "wrong" not in html
    assert "Normals: mean error" in html


def test_unreadable_images_are_named_and_the_others_drawn(harness, artifact: Path) -> None:
    noise(Path("in/good.png"), (20, 20))
    Path("in/bad.png").write_bytes(b"\x89PNG")
    result = harness("predict", "--checkpoint", artifact, "in")
    assert result.code == 3
    assert result.err == "harness: in/bad.png: the file is damaged or no image\n"
    assert sorted(path.name for path in Path("pictures").iterdir()) == ["good.png", "index.html"]
    assert "1 image without labels" in Path("pictures/index.html").read_text()
    alone = harness("predict", "--checkpoint", artifact, "in/bad.png", "-o", "none")
    assert (alone.code, alone.out) == (3, "")
    assert not Path("none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give images, or a data set with -d"),
        (["in/a.png", "-d", "nyud"], 2, "one of the two"),
        (["in/a.png", "--data-root", "x"], 2, "--data-root belongs to a data set"),
        (["in/a.png", "-m", "single-task"], 2, "is an artifact of multi-task, not of single-task"),
        (["in/a.png", "-t", "dept"], 2, "did you mean depth"),
        (["in/a.png", "--precision", "fp16"], 2, "needs a GPU"),
        (["in/a.png", "-o", "in"], 2, "in/a.png is one of the images"),
        (["-d", "nyud", "--data-root", "gone"], 3, "gone"),
        (["gone.png"], 3, "gone.png: there is no such file or folder"),
        (["empty"], 3, "empty: the folder holds no image"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(harness, artifact: Path, arguments, code: int, message: str) -> None:
    noise(Path("in/a.png"), (20, 20))
    Path("empty").mkdir()
    before = Path("in/a.png").read_bytes()
    result = harness("predict", "--checkpoint", artifact, *arguments)
    assert result.code == code, result.err
    assert message in result.err
    assert "Traceback" not in result.err
    assert not Path("pictures").exists()
    assert Path("in/a.png").read_bytes() == before


def test_a_method_that_fails_is_told_in_a_line(harness, artifact: Path, monkeypatch) -> None:
    noise(Path("a.png"), (20, 20))
    cls = load_method("multi-task")

    def broken(*arguments: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(cls, "load", broken, raising=False)
    result = harness("predict", "--checkpoint", artifact, "a.png")
    assert result.code == 4
    assert result.err == f"harness: --checkpoint {artifact}: RuntimeError: out of luck\n"


def test_a_folder_that_cannot_be_made_is_told_in_a_line(harness, artifact: Path) -> None:
    noise(Path("a.png"), (20, 20))
    result = harness("predict", "--checkpoint", artifact, "a.png", "-o", "a.png")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "cannot be written" in result.err


def test_what_is_no_artifact_is_refused(harness, artifact: Path) -> None:
    noise(Path("a.png"), (20, 20))
    result = harness("predict", "--checkpoint", artifact.parent, "a.png")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "has no artifact.json" in result.err
    broken = Path(shutil.copytree(artifact, "broken"))
    (broken / "model.safetensors").write_bytes(b"no")
    result = harness("predict", "--checkpoint", broken, "a.png")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "cannot be read" in result.err
