"""Wrong files do not score quietly: what is implausible about saved predictions is said, with what to do."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import ScoreConfig
from harness.data.open import open_data
from harness.errors import DataError, UsageError
from harness.predictions.score import Scored, score
from harness.protocol import Protocol
from harness.registry import load_dataset

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def scored(golden: Path, tmp_path: Path) -> Callable[..., Scored]:
    """Return a function that saves changed labels as the predictions of a task, and scores them."""

    def run(task: str, change: Change = lambda label: label, suffix: str | None = None) -> Scored:
        name, folder = ("pascal-context", "mini_PASCALContext") if task == "saliency" else ("nyud", "mini_NYUDv2")
        root = golden / folder
        data = open_data(load_dataset(name), root, (task,), Protocol(), None, training=False)
        place = tmp_path / "p" / task
        place.mkdir(parents=True)
        for scene in data.val:
            values = change(next(iter(scene.labels.values())).copy())  # boundaries have the label map
            path = place / f"{scene.id}{suffix or ('.npy' if task in ('depth', 'normals') else '.png')}"
            np.save(path, values) if path.suffix == ".npy" else Image.fromarray(values.astype(np.uint8)).save(path)
        config = ScoreConfig(
            predictions=tmp_path / "p", dataset=name, data_root=root, output=tmp_path / "out", quiet=True
        )
        return score(config)

    return run


def said(scored: Scored, task: str) -> list[str]:
    assert set(scored.doubtful) <= set(scored.record.warnings)
    return [line.removeprefix(f"{task}: ") for line in scored.record.warnings if line.startswith(f"{task}:")]


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "boundary", "saliency"])
def test_the_labels_themselves_are_plausible(scored: Callable[..., Scored], task: str) -> None:
    scale = {"boundary": 255, "saliency": 255}.get(task, 1)
    found = scored(task, lambda label: (label == 1) * scale if scale > 1 else np.where(label == 255, 0, label))
    assert said(found, task) == []


@pytest.mark.parametrize(
    ("shift", "texts"),
    [(1, ["values outside 0..39 (40 in", "right when 1 is subtracted"]), (-1, ["right when 1 is added"])],
)
def test_classes_that_count_from_another_number(scored: Callable[..., Scored], shift: int, texts: list[str]) -> None:
    def change(label: np.ndarray) -> np.ndarray:
        label = np.where(label == 255, 0, label.astype(int))
        label[0, 0] = 39
        return np.clip(label + shift, 0, 40)

    lines = said(scored("semseg", change), "semseg")
    assert len(lines) == len(texts)
    for line, text in zip(lines, texts, strict=True):
        assert text in line


@pytest.mark.parametrize("task", ["saliency", "boundary"])
def test_probabilities_of_0_and_1_in_8_bits(scored: Callable[..., Scored], task: str) -> None:
    [line] = said(scored(task, lambda label: label == 1), task)
    assert "no value above 1 in any file" in line
    assert "255 times a probability" in line


@pytest.mark.parametrize(("factor", "text"), [(1000, "millimetres"), (100, "centimetres"), (0.001, "kilometres")])
def test_depth_in_another_unit(scored: Callable[..., Scored], factor: float, text: str) -> None:
    [line] = said(scored("depth", lambda label: label * factor), "depth")
    assert f"{text}" in line
    assert "predictions reach" in line


def test_depth_that_is_off_by_half_is_a_poor_prediction_and_no_other_unit(scored: Callable[..., Scored]) -> None:
    assert said(scored("depth", lambda label: label * 1.5), "depth") == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda n: n * [1, -1, 1], "taken as (x, -y, z) they agree better"),
        (lambda n: n[..., [2, 1, 0]], "taken as (z, y, x) they agree better"),
        (lambda n: n * 127, "median length of 127, not 1"),
        (lambda n: n * 0, "half of the vectors or more are zero"),
        (lambda n: (n + 1) / 2, "no component is negative"),
        (lambda n: np.repeat(n[..., :1], 3, axis=2), "x, y and z are equal everywhere"),
    ],
)
def test_normals_with_other_axes_or_encodings(scored: Callable[..., Scored], change: Change, text: str) -> None:
    assert any(text in line for line in said(scored("normals", change), "normals"))


def test_normals_of_one_channel_are_named_as_broken(scored: Callable[..., Scored]) -> None:
    with pytest.raises(DataError, match="holds one channel"):
        scored("normals", lambda n: (n[..., 0] + 1) * 127, suffix=".png")


def test_normals_worse_than_the_mean_normal(scored: Callable[..., Scored]) -> None:
    def change(normals: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).normal(size=normals.shape)

    assert any("worse than the mean normal" in line for line in said(scored("normals", change), "normals"))


def test_suffixes_in_capitals_are_read(scored: Callable[..., Scored]) -> None:
    found = scored("semseg", lambda label: np.where(label == 255, 0, label), suffix=".PNG")
    assert found.record.metrics["semseg"]["pixel_acc"].value == 1


def test_files_of_another_format_are_named_with_the_formats_that_are_read(scored: Callable[..., Scored]) -> None:
    with pytest.raises(
        DataError, match=r"first problem: .*boundary/: none of the .* images has .* \.png; found"
    ) as error:
        scored("boundary", lambda label: label, suffix=".npy")
    assert ".npy" in str(error.value)


def test_a_map_without_pixels_is_broken_and_the_others_are_scored(
    scored: Callable[..., Scored], tmp_path: Path
) -> None:
    seen: list[int] = []

    def change(label: np.ndarray) -> np.ndarray:
        seen.append(1)
        return label[:0, :0] if len(seen) == 1 else label

    found = scored("depth", change)
    [line] = found.broken
    assert "holds no value" in line
    assert found.record.metrics["depth"]["rmse"].value is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_predictions_is_passed_over(scored: Callable[..., Scored], tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    os.mkfifo(tmp_path / "p" / "pipe.npy")
    assert scored("depth").record.metrics["depth"]["rmse"].value == pytest.approx(0)


@pytest.mark.parametrize("name", ["n" * 300, "a\x1b[31m", ""])
def test_names_that_no_table_can_show_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        ScoreConfig.read(None, {"predictions": Path("p"), "dataset": "nyud", "name": name})
