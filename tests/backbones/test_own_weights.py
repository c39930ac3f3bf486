"""Weights of the small encoders: what they are, that they load at any size, and that no benchmark scene made them."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from harness.backbones import build_backbone, facts
from harness.backbones.own_weights import own_sha256, read_own
from harness.backbones.shapes import FOLDER, OWN
from harness.config import RunConfig
from harness.datasets.synth import default
from harness.datasets.synth.nyud_tree import scene_rng
from harness.datasets.synth.room import room_scene
from harness.files import sha256_of
from harness.run.configure import configure

ROOT = Path(__file__).resolve().parents[2]  # of the clone: the package under test may be installed elsewhere
BENCHMARKS = ROOT / "benchmarks"
CARD = yaml.safe_load((FOLDER / "card.yaml").read_text())

encoders = pytest.mark.parametrize("name", sorted(OWN))


@encoders
@pytest.mark.parametrize("size", [(112, 144), (128, 128), (64, 96)], ids=str)
def test_they_load_at_any_size_and_change_what_is_encoded(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, *size)
    fresh, start = build_backbone(name, size).eval(), build_backbone(name, size, "pretrained").eval()
    with torch.inference_mode():
        before, after = fresh(images), start(images)
    assert before.shape == after.shape
    assert not torch.allclose(before, after)
    assert after.isfinite().all()
    assert start.notes == ()


@encoders
def test_files_are_small_and_as_their_card_says(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 5_000_000
    assert sha256_of(path) == own_sha256(name) == CARD["files"][name]["sha256"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in read_own(name).values())
    assert "this project" in str(facts(name)["pretrained"])


def test_every_small_encoder_has_them() -> None:
    assert {"vit-micro", "resnet-micro", "hrnet-micro", "swin-micro"} == OWN == set(CARD["files"])


def test_no_benchmark_scene_is_among_those_they_saw() -> None:
    assert CARD["seed"] != default.SEED
    assert CARD["seed"] > 1000, "no test and no user takes it by chance"
    # A scene follows from (seed, split, index) alone: other seeds draw other rooms.
    for split in ("train", "val"):
        ours = scene_rng(CARD["seed"], split, 0).random(8)
        theirs = scene_rng(default.SEED, split, 0).random(8)
        assert not np.allclose(ours, theirs)
    seen = {repr(room_scene(k, scene_rng(CARD["seed"], "train", k)).camera) for k in range(40)}
    scored = {repr(room_scene(k, scene_rng(default.SEED, "val", k)).camera) for k in range(40)}
    assert not seen & scored


def test_the_script_and_the_card_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import pretrain_encoders as script

    try:
        assert CARD["seed"] == script.SEED
        assert CARD["scenes"] == script.SCENES
        assert CARD["taught"] == {name: list(tasks) for name, tasks in script.TAUGHT.items()}
        assert CARD["batch_size"] == script.BATCH
        assert CARD["learning_rates"] == {"encoder": script.ENCODER_LR, "heads": script.HEAD_LR}
    finally:
        sys.modules.pop("pretrain_encoders", None)


@pytest.mark.parametrize(
    ("budget", "init", "backbone", "expected"),
    [
        ("quick", None, "vit-micro", "pretrained"),
        ("quick", "random", "vit-micro", None),
        ("quick", None, "vit-t16", None),
        ("medium", None, "vit-micro", None),
        ("full", None, "vit-micro", "pretrained"),
    ],
)
def test_the_quick_budget_starts_from_them(budget: str, init: str | None, backbone: str, expected: str | None) -> None:
    config = RunConfig(method=["multi-task"], budget=budget, init=init, backbone=backbone)
    [method] = configure(["multi-task"], backbone, {}, config.weights, config.budget)
    assert method.weights == expected


def test_the_card_is_written_for_people() -> None:
    page = (ROOT / "docs" / "budgets.md").read_text()
    assert re.search(r"pretrain_encoders\.py", page)
