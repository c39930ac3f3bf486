"""Mutated folders of predictions: files changed as bytes and below their compression, odd values, shapes, names."""

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from fuzzing.mutate import mutated, mutated_mat, mutated_png
from fuzzing.subjects import time_limit
from PIL import Image

from harness.config import ScoreConfig
from harness.data.dataset import Dataset
from harness.data.open import open_data
from harness.errors import HarnessError
from harness.predictions.score import score
from harness.protocol import Protocol
from harness.records import read_record

_BELOW: dict[str, Callable[[bytes, random.Random], bytes]] = {".png": mutated_png, ".mat": mutated_mat}

_SHAPES = ((0, 0), (0, 5), (1, 1), (7,), (), (3, 4, 5), (5, 4, 3), (1, 9, 9, 1), (3000, 1), (2, 3, 4, 5))
_NUMBERS = (
    0.0,
    -1.0,
    1.0,
    39.0,
    40.0,
    254.0,
    255.0,
    256.0,
    1e9,
    1e38,
    1e300,
    float("nan"),
    float("inf"),
    -float("inf"),
)
_TYPES = ("f2", "f4", "f8", ">f4", "u1", "i8", "u8", "?", "c8", "U3", "M8[s]")


def sound_predictions(dataset: Dataset, root: Path, folder: Path) -> None:
    """Save the labels of a data set as predictions, those of boundaries and saliency as levels of 0 and 255."""
    for spec in dataset.tasks:
        data = open_data(dataset, root, (spec.name,), Protocol(), None, training=False)
        place = folder / spec.name
        place.mkdir(parents=True)
        for scene in data.val:
            label = next(iter(scene.labels.values()))  # boundaries have the label map
            if spec.name in ("depth", "normals"):
                np.save(place / f"{scene.id}.npy", label)
            else:
                levels = (label == 1) * 255 if spec.num_classes is None else np.where(label == 255, 0, label)
                Image.fromarray(levels.astype(np.uint8)).save(place / f"{scene.id}.png")


def odd_array(rng: random.Random) -> Any:
    """Return an array of a shape, a number and a type that no prediction has, or that one might have by mistake."""
    with np.errstate(all="ignore"):
        return np.full(rng.choice(_SHAPES), rng.choice(_NUMBERS)).astype(rng.choice(_TYPES[:-1]))


def _odd_file(suffix: str, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    values = odd_array(rng)
    if suffix == ".npy":
        np.save(buffer, values)
    elif suffix == ".mat":
        numbers = values.astype(float) if values.dtype.kind != "U" else values  # a text may be half a number
        scipy.io.savemat(buffer, {rng.choice(("depth", "x")): numbers})
    else:
        mode = rng.choice(("1", "L", "P", "LA", "RGB", "RGBA", "I;16", "I", "F", "CMYK"))
        size = rng.choice(((1, 1), (1, 3000), (40, 30), (560, 425)))
        Image.new(mode, size, rng.randrange(2)).save(buffer, "TIFF" if mode in ("I", "F", "CMYK") else "PNG")
    return buffer.getvalue()


def mutate_file(path: Path, rng: random.Random) -> None:
    """Change one prediction: its bytes, what is below its compression, its values, its kind or its name."""
    content = path.read_bytes()
    match rng.randrange(8):
        case 0 | 1 | 2:
            path.write_bytes(mutated(content, rng))
        case 3 | 4:
            path.write_bytes(_BELOW.get(path.suffix, mutated)(content, rng))
        case 5 | 6:
            path.write_bytes(_odd_file(path.suffix, rng))
        case _:
            path.unlink()
            other = path.with_name(path.stem + rng.choice((".npy", ".mat", ".png", ".PNG", ".jpg", "", ".npy.png")))
            if rng.random() < 0.2:
                other.mkdir(exist_ok=True)
            else:
                other.write_bytes(content if rng.random() < 0.5 else _odd_file(other.suffix.lower(), rng))


def attempt_predictions(dataset: Dataset, root: Path, sound: Path, seed: int, folder: Path) -> tuple[int, int]:
    """Score a folder in which one file of every task is sound and all others are mutated.

    Args:
        dataset: A built-in data set.
        root: Its folder.
        sound: Predictions for all of its images.
        seed: Number of the input.
        folder: Empty folder to work in.

    Returns:
        Files mutated, and lines said about them.

    Raises:
        Exception: whatever escaped; that is a fault. `AssertionError` where the sound files were lost.
    """
    rng = random.Random(f"predictions {seed}")
    place = folder / "p"
    shutil.copytree(sound, place)
    changed = 0
    for task in sorted(place.iterdir()):
        files = sorted(task.iterdir())
        for path in rng.sample(files, len(files) - 1):
            mutate_file(path, rng)
            changed += 1
    config = ScoreConfig(
        predictions=place, dataset=dataset.name, data_root=root, output=folder / "out", quiet=True, name="mutated"
    )
    try:
        with time_limit():
            scored = score(config)
    except HarnessError as error:
        raise AssertionError(f"sound files were lost: {error}") from error
    lines = [*scored.broken, *scored.missing, *scored.record.warnings]
    assert all(line.strip() and "\n" not in line for line in lines), lines
    assert read_record(config.output / scored.record.run_id) == scored.record
    for task in place.iterdir():
        if task.name == "parts" and task.name not in scored.record.metrics:
            continue  # the sound file may be of the image without people, which is not scored
        metrics = scored.record.metrics[task.name]
        assert all(metric.value is not None or metric.reason for metric in metrics.values()), metrics
    shutil.rmtree(folder / "p")
    shutil.rmtree(folder / "out")
    return changed, len(lines)
