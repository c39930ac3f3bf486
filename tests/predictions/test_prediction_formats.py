"""Files of predictions: what is written is read back, and what cannot be meant is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from harness.errors import DataError, UsageError
from harness.predictions.folder import find_tasks
from harness.predictions.formats import FORMATS, read_prediction
from harness.tasks import TASKS

SIZE = (5, 7)


def write(folder: Path, task: str, planes: np.ndarray) -> Path:
    path = folder / f"{task}{FORMATS[task].suffix}"
    path.write_bytes(FORMATS[task].write(planes))
    return path


def test_every_task_has_a_format() -> None:
    assert list(FORMATS) == list(TASKS)


@pytest.mark.parametrize("task", ["semseg", "parts"])
@given(labels=arrays(np.uint8, (1, *SIZE)))
def test_class_indices_come_back(tmp_path_factory, task: str, labels: np.ndarray) -> None:
    path = write(tmp_path_factory.mktemp("f"), task, labels.astype(np.float32))
    np.testing.assert_array_equal(read_prediction(task, path), labels)


@pytest.mark.parametrize(("task", "channels"), [("depth", 1), ("normals", 3)])
@given(data=st.data())
def test_floats_come_back_to_the_last_bit(tmp_path_factory, task: str, channels: int, data: st.DataObject) -> None:
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    planes = data.draw(arrays(np.float32, (channels, *SIZE), elements=finite))
    path = write(tmp_path_factory.mktemp("f"), task, planes)
    np.testing.assert_array_equal(read_prediction(task, path), planes)


@pytest.mark.parametrize("task", ["saliency", "boundary"])
@given(planes=arrays(np.float32, (1, *SIZE), elements=st.floats(0, 1, width=32)))
def test_probabilities_are_cut_to_8_bits_once(tmp_path_factory, task: str, planes: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("f")
    path = write(folder, task, planes)
    found = read_prediction(task, path)
    np.testing.assert_array_equal(found * np.float32(255), np.floor(planes * np.float32(255)))
    stored = path.read_bytes()
    assert write(folder, task, found).read_bytes() == stored, "nothing more is lost the second time"


def test_the_formats_of_other_code_bases_are_read(tmp_path: Path) -> None:
    depth = np.linspace(0.5, 9.5, 35, dtype=np.float32).reshape(SIZE)
    scipy.io.savemat(tmp_path / "d.mat", {"depth": depth})
    np.testing.assert_array_equal(read_prediction("depth", tmp_path / "d.mat")[0], depth)
    Image.fromarray((depth * 1000).astype(np.uint16)).save(tmp_path / "d.png")
    np.testing.assert_allclose(read_prediction("depth", tmp_path / "d.png")[0], depth, atol=0.001)
    np.save(tmp_path / "d.npy", depth[None, :, :, None])
    np.testing.assert_array_equal(read_prediction("depth", tmp_path / "d.npy")[0], depth)
    rgb = np.arange(105, dtype=np.uint8).reshape(*SIZE, 3)
    Image.fromarray(rgb).save(tmp_path / "n.png")
    np.testing.assert_allclose(
        read_prediction("normals", tmp_path / "n.png"), np.moveaxis(2 * rgb / 255 - 1, 2, 0), atol=1e-6
    )
    np.save(tmp_path / "n.npy", np.moveaxis(rgb, 2, 0).astype(np.float64))
    np.testing.assert_array_equal(read_prediction("normals", tmp_path / "n.npy"), np.moveaxis(rgb, 2, 0))
    palette = Image.fromarray(rgb[:, :, 0] % 21, mode="P")
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "s.png")
    np.testing.assert_array_equal(read_prediction("semseg", tmp_path / "s.png")[0], rgb[:, :, 0] % 21)


@pytest.mark.parametrize(
    ("task", "name", "values", "message"),
    [
        ("semseg", "x.png", np.zeros((*SIZE, 3), np.uint8), "one channel"),
        ("boundary", "x.png", np.zeros(SIZE, np.uint16), "8 bits"),
        ("depth", "x.png", np.zeros(SIZE, np.uint8), "16 bits"),
        ("depth", "x.npy", np.full(SIZE, np.nan), "finite"),
        ("depth", "x.npy", np.zeros((*SIZE, 3)), "one number per pixel"),
        ("depth", "x.mat", {"prediction": np.zeros(SIZE)}, "no variable 'depth'"),
        ("normals", "x.npy", np.zeros((*SIZE, 2)), "three numbers"),
        ("normals", "x.png", b"\x89PNG", "cannot be read"),
        ("depth", "x.npy", b"\x93NUMPY", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, task: str, name: str, values, message: str) -> None:
    path = tmp_path / name
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif isinstance(values, dict):
        scipy.io.savemat(path, values)
    elif name.endswith("png"):
        Image.fromarray(values).save(path)
    else:
        np.save(path, values)
    with pytest.raises(DataError, match=message) as caught:
        read_prediction(task, path)
    assert str(path) in str(caught.value)
    assert "archive" not in str(caught.value), "that is advice for data sets"


def test_the_more_exact_of_two_files_is_used_and_the_other_named(tmp_path: Path) -> None:
    folder = tmp_path / "depth"
    folder.mkdir()
    for name in ("a.png", "a.npy", "b.mat", "b.png", "c.png", "d.npy", "notes.txt", ".hidden"):
        (folder / name).touch()
    [found], others = find_tasks(tmp_path, ["semseg", "depth"])
    assert others == []
    files = found.files()
    assert {image_id: path.name for image_id, path in files.items()} == {
        "a": "a.npy",
        "b": "b.mat",
        "c": "c.png",
        "d": "d.npy",
    }
    assert [path.name for path in found.surplus({"a", "b", "c"})] == ["a.png", "b.png", "d.npy", "notes.txt"]


def test_folders_are_known_by_the_names_code_bases_give_them(tmp_path: Path) -> None:
    for name in ("human_parts", "sal", "edge", "semseg", "flow"):
        (tmp_path / name).mkdir()
    found, others = find_tasks(tmp_path, ["semseg", "parts", "saliency", "normals", "boundary"])
    assert [(folder.task, folder.path.name) for folder in found] == [
        ("semseg", "semseg"),
        ("parts", "human_parts"),
        ("saliency", "sal"),
        ("boundary", "edge"),
    ]
    assert [path.name for path in others] == ["flow"]
    with pytest.raises(UsageError, match="normals/"):
        find_tasks(tmp_path, ["normals"])
