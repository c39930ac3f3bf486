"""``harness data`` prints data on stdout and raises what cannot be done."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from harness.cli import data as command
from harness.data.card import id_list_md5, load_card
from harness.data.dataset import SyntheticDataset
from harness.data.verify import verify
from harness.datasets.nyud import NYUD
from harness.errors import DataError, UsageError


def invoke(*arguments):
    return CliRunner().invoke(command.data, [str(argument) for argument in arguments])


@pytest.fixture
def small_nyud(nyud_root, monkeypatch):
    """The tiny set with a card that describes it, so that it verifies."""
    card = load_card("nyud")
    splits = {
        split: card.splits[split].model_copy(update={"count": len(ids), "md5": id_list_md5(ids)})
        for split, ids in (("train", ["0001"]), ("val", ["0002", "0009"]))
    }
    monkeypatch.setattr(NYUD, "card", card.model_copy(update={"splits": splits}))
    return nyud_root


def test_a_sound_data_set_has_no_problems(small_nyud):
    assert list(verify(NYUD(), small_nyud)) == []
    result = invoke("verify", "nyud", "--data-root", small_nyud)
    assert result.exception is None
    assert result.stdout == f"{small_nyud}: no problem found\n"


def test_verify_finds_every_planted_fault(small_nyud):
    (small_nyud / "depth/0002.npy").unlink()
    (small_nyud / "images/0001.png").write_bytes(b"\x89PNG")
    Image.fromarray(np.zeros((34, 44), np.uint8)).save(small_nyud / "edge/0009.png")
    Image.fromarray(np.full((34, 45), 99, np.uint8)).save(small_nyud / "segmentation/0009.png")
    (small_nyud / "gt_sets/val.txt").write_text("0009\n0002\n")
    problems = list(verify(NYUD(), small_nyud))
    text = "\n".join(problems)
    for part in ("md5", "depth/0002.npy", "images/0001.png", "edge/0009.png", "segmentation/0009.png"):
        assert sum(part in problem for problem in problems) == 1, text
    assert len(problems) == 5
    result = invoke("verify", "nyud", "--data-root", small_nyud, "-f", "json")
    assert isinstance(result.exception, DataError)
    assert json.loads(result.stdout)["problems"] == problems


def test_verify_counts_images_and_names_missing_folders(nyud_root):
    (problem,) = [line for line in verify(NYUD(), nyud_root) if "not the published split: 2 of 654 ids" in line]
    assert "md5" in problem
    (nyud_root / "normals").rename(nyud_root / "n")
    missing = [line for line in verify(NYUD(), nyud_root) if "normals has no labels, the folder normals/" in line]
    assert [line.partition(":")[0] for line in missing] == ["train", "val"]


def test_info_shows_the_card_and_what_is_there(nyud_root):
    shown = json.loads(invoke("info", "nyud", "--data-root", nyud_root, "-f", "json").stdout)
    assert shown["card"]["splits"]["val"]["count"] == 654
    assert shown["found"]["root"] == str(nyud_root)
    assert shown["found"]["splits"]["val"] == {"build": "png-34x45", "count": 2, "sizes": {"34x45": 2}}
    table = invoke("info", "nyud", "--data-root", nyud_root).stdout
    assert "NYUD-v2" in table
    assert "val: build png-34x45, 2 images; sizes 34x45 (2)" in table


def test_info_works_without_the_data(tmp_path):
    result = invoke("info", "pascal-context", "--data-root", tmp_path)
    assert result.exception is None
    assert "found: no folder" in result.stdout


def test_missing_data_raise_for_the_other_commands(tmp_path):
    for name in ("verify", "prepare"):
        result = invoke(name, "nyud", "--data-root", tmp_path)
        assert isinstance(result.exception, DataError)
        assert "nyud-synth" in str(result.exception)


def test_prepare_builds_the_cache(nyud_root, private_cache):
    prepared = json.loads(invoke("prepare", "nyud", "--data-root", nyud_root, "-f", "json").stdout)
    assert [(facts["split"], facts["images"]) for facts in prepared] == [("train", 1), ("val", 2)]
    assert all(Path(facts["file"]).is_relative_to(private_cache) for facts in prepared)
    assert {len(facts["fingerprint"]) for facts in prepared} == {64}


def test_fetch_shows_the_terms_before_anything_else(tmp_path):
    result = invoke("fetch", "nyud", "--data-root", tmp_path, "--archive", tmp_path / "a.tgz")
    assert isinstance(result.exception, UsageError)
    assert "research use" in result.stderr
    assert list(tmp_path.glob("*")) == []


def test_fetch_unpacks_a_given_archive(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("NYUDv2/gt_sets/val.txt"), io.BytesIO())
    result = invoke("fetch", "nyud", "--data-root", tmp_path / "h", "--archive", tmp_path / "a.tgz", "--accept-terms")
    assert result.exception is None
    assert result.stdout == f"{tmp_path / 'h' / 'NYUDv2'}\n"


class Painted(NYUD, SyntheticDataset):
    name = "painted"
    written: dict = {}  # noqa: RUF012

    def write(self, root, **options):
        options.pop("progress")(1, options["train"] + options["val"])
        self.written[root] = options


def test_synth_passes_the_options_on(tmp_path, monkeypatch):
    monkeypatch.setattr(command.registry, "load_dataset", lambda name: Painted())
    options = ("--seed", 3, "--train", 5, "--val", 2, "--size", "40x60", "--clips", 1)
    result = invoke("synth", "painted", "--out", tmp_path, *options)
    assert result.exception is None
    assert result.stdout == f"{tmp_path}\n"
    assert Painted.written[tmp_path] == {"seed": 3, "train": 5, "val": 2, "size": (40, 60), "clips": 1}
    assert isinstance(invoke("fetch", "painted").exception, UsageError)


@pytest.mark.parametrize("size", ["40", "0x5", "axb", "40x60x3", "-1x4"])
def test_a_malformed_size_is_a_usage_error(tmp_path, size):
    result = invoke("synth", "nyud-synth", "--out", tmp_path, "--size", size)
    assert result.exit_code == 2
    assert "height x width" in result.stderr


def test_real_data_cannot_be_rendered(tmp_path):
    result = invoke("synth", "nyud", "--out", tmp_path)
    assert isinstance(result.exception, UsageError)
    assert "`nyud-synth` or `pascal-synth`" in str(result.exception)


def test_an_unknown_data_set_asks_what_was_meant():
    result = invoke("info", "nuyd")
    assert isinstance(result.exception, UsageError)
    assert "did you mean nyud" in str(result.exception)
