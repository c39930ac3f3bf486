"""A data set of somebody else: one file, found with ``--plugin``, treated as the built-in ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from harness.cli import data as command
from harness.cli.run import run
from harness.data.open import open_data
from harness.errors import DataError
from harness.protocol import Protocol
from harness.registry import load_dataset, load_plugin

PLUGIN = Path(__file__).with_name("rooms.py")


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Return a folder of three small rooms; one is of another size."""
    root, rng = tmp_path / "rooms", np.random.default_rng(0)
    for folder in ("images", "classes", "depth", "lists"):
        (root / folder).mkdir(parents=True)
    for image_id, size in (("a", (40, 50)), ("b", (40, 50)), ("c", (33, 20))):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(root / f"images/{image_id}.jpg")
        Image.fromarray(rng.choice([0, 1, 2, 255], size).astype(np.uint8)).save(root / f"classes/{image_id}.png")
        np.save(root / f"depth/{image_id}.npy", rng.uniform(1, 5, size))
    (root / "lists/train.txt").write_text("a\n")
    (root / "lists/val.txt").write_text("b\nc\n")
    return root


def invoke(group, *arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_it_is_opened_cached_and_padded_as_others(rooms):
    load_plugin(str(PLUGIN))
    data = open_data(load_dataset("rooms"), rooms.parent, (), Protocol(), None, training=True)
    assert data.problem.names == ("semseg", "depth")
    assert data.problem.input_size == (48, 64)
    assert [scene.image.shape[:2] for scene in data.val] == [(40, 50), (33, 20)]
    assert data.warnings == []
    np.testing.assert_array_equal(data.val[1].labels["depth"], np.load(rooms / "depth/c.npy").astype(np.float32))


def test_it_is_verified_and_described_on_the_command_line(rooms):
    options = ("rooms", "--plugin", PLUGIN, "--data-root", rooms)
    assert invoke(command.data, "verify", *options).stdout.endswith("no problem found\n")
    assert "val: build jpg, 2 images; sizes 40x50 (1), 33x20 (1)" in invoke(command.data, "info", *options).stdout
    assert len(json.loads(invoke(command.data, "prepare", *options, "-f", "json").stdout)) == 2
    np.save(rooms / "depth/c.npy", np.load(rooms / "depth/c.npy") * 1000)
    Image.new("L", (20, 33), 3).save(rooms / "classes/c.png")
    (rooms / "images/b.jpg").unlink()
    result = invoke(command.data, "verify", *options)
    assert isinstance(result.exception, DataError)
    assert "classes/c.png: label value 3 is out of range, allowed: 0..2 or 255" in result.stdout
    assert "images/b.jpg: the file is missing" in result.stdout


def test_its_missing_folders_and_lists_are_named_as_others(rooms):
    load_plugin(str(PLUGIN))
    for path in (rooms / "depth").iterdir():
        path.unlink()
    dataset = load_dataset("rooms")
    assert open_data(dataset, rooms, ["semseg"], Protocol(), None, training=True).problem.names == ("semseg",)
    with pytest.raises(DataError, match=r"depth/ holds no \.npy file.*-t semseg"):
        open_data(dataset, rooms, (), Protocol(), None, training=True)
    with pytest.raises(DataError, match="Rooms was not found"):
        dataset.root(rooms / "images")


def test_a_method_is_trained_and_scored_on_it(rooms, tmp_path):
    options = ("-d", "rooms", "--plugin", PLUGIN, "--data-root", rooms, "--iterations", 1, "--probe", "none", "-q")
    result = invoke(run, "-m", "multi-task", *options, "-o", tmp_path / "out")
    assert result.exception is None, result.output
    (path,) = (tmp_path / "out").rglob("record.json")
    record = json.loads(path.read_text())
    assert record["dataset"]["name"] == "rooms"
    assert set(record["metrics"]) == {"semseg", "depth"}
    assert record["dataset"]["n_expected"] == 2


def test_the_page_shows_the_whole_file():
    page = (Path(__file__).resolve().parents[2] / "docs" / "add-dataset.md").read_text()
    [shown] = re.findall(r"```python\n# rooms.py\n(.*?)```", page, flags=re.DOTALL)
    assert shown == PLUGIN.read_text()
