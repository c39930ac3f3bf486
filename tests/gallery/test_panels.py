"""Panels and sheets: known colours at known places, errors that are zero where the prediction is right."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.gallery.page import Entry, page
from harness.gallery.panels import Column, columns
from harness.gallery.sheet import Sheet
from harness.problem import TaskSpec
from harness.tasks import build_task
from harness.tasks.base import IGNORE, Task
from harness.tasks.pictures import DEPTH, UNLABELLED, WRONG, Scale

WHITE_OF_REDS, DARK_OF_REDS = (255, 245, 240), (103, 0, 12)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).permute(2, 0, 1).float() * 9


def perfect(task: Task, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return a raw prediction and the label that it agrees with."""
    generator = torch.Generator().manual_seed(1)
    if task.spec.num_classes is not None:
        label = torch.randint(task.spec.num_classes, size, generator=generator)
        return one_hot(label, task.spec.num_classes), label[None].float()
    if task.name == "normals":
        vectors = torch.randn(3, *size, generator=generator)
        return 2 * vectors, vectors / vectors.norm(dim=0)
    if task.name == "depth":
        depth = torch.rand(1, *size, generator=generator) * 9 + 0.5
        return depth, depth.clone()
    label = (torch.rand(1, *size, generator=generator) > 0.5).float()
    score = (label - 0.5) * 200
    return (torch.cat([-score, score]) if task.name == "saliency" else score), label


SPECS = [
    TaskSpec("semseg", 3, ("wall", "floor", "bed")),
    TaskSpec("parts", 3, ("background", "head", "torso")),
    TaskSpec("saliency"),
    TaskSpec("normals"),
    TaskSpec("depth"),
    TaskSpec("boundary"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_error_is_zero_where_the_prediction_is_right_and_unknown_where_nothing_is_labelled(spec: TaskSpec) -> None:
    task = build_task(spec)
    prediction, label = perfect(task, (5, 7))
    label[:, 0, :3] = IGNORE
    error = task.error(prediction, label)
    assert error.shape == (5, 7)
    assert np.isnan(error[0, :3]).all()
    assert np.isnan(error).sum() == 3
    np.testing.assert_allclose(error[1:], 0, atol=0.05 if spec.name == "normals" else 1e-6)


def test_errors_by_hand() -> None:
    semseg = build_task(SPECS[0])
    error = semseg.error(one_hot(torch.tensor([[0, 1, 2]]), 3), torch.tensor([[[0.0, 2.0, 2.0]]]))
    assert error.tolist() == [[0, 1, 0]]
    depth = build_task(TaskSpec("depth"))
    np.testing.assert_allclose(depth.error(torch.tensor([[[2.5, 1.0]]]), torch.tensor([[[2.0, 4.0]]])), [[0.5, 3]])
    turned = torch.tensor([0.0, math.sin(math.radians(30)), -math.cos(math.radians(30))]).view(3, 1, 1)
    facing = torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1)
    np.testing.assert_allclose(build_task(TaskSpec("normals")).error(5 * turned, facing), [[30]], rtol=1e-6)
    boundary = build_task(TaskSpec("boundary"))
    error = boundary.error(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]]))
    assert error.tolist() == [[-0.5, 0.5]], "missed below zero, false alarm above"


def test_scales_clip_at_their_ends_and_show_what_is_unknown_in_grey() -> None:
    picture = WRONG.picture(np.array([[0, 1, 7, np.nan]], np.float32))[0].tolist()
    assert [tuple(colour) for colour in picture] == [WHITE_OF_REDS, DARK_OF_REDS, DARK_OF_REDS, UNLABELLED]
    assert {tuple(colour) for colour in WRONG.bar(10, 1)[0].tolist()} == {WHITE_OF_REDS, DARK_OF_REDS}
    bar = DEPTH.bar(300, 4)
    assert bar.shape == (4, 300, 3)
    np.testing.assert_array_equal(bar[0, [0, -1]], DEPTH.picture(np.array([[0, 10]], np.float32))[0])
    assert Scale("gray", 2, 4, ("", "", "")).picture(np.array([[3]], np.float32)).ravel().tolist() == [128] * 3


def test_the_legend_names_the_classes_of_both_maps_by_area_and_no_others() -> None:
    task = build_task(TaskSpec("semseg", 40, ("wall", "floor", "cabinet")))
    prediction = one_hot(torch.tensor([[1, 1, 1, 7]]), 40)
    label = torch.tensor([[[1.0, 0.0, 0.0, IGNORE]]])
    assert task.legend(prediction) == [("floor", (0, 128, 0)), ("class 7", (64, 0, 0))]
    assert [name for name, _ in task.legend(prediction, label)] == ["floor", "wall", "class 7"]
    assert build_task(TaskSpec("depth")).legend(torch.zeros(1, 2, 2)) == []


def compared(size: tuple[int, int], specs: list[TaskSpec]) -> list[Column]:
    tasks = {spec.name: build_task(spec) for spec in specs}
    pairs = {name: perfect(task, size) for name, task in tasks.items()}
    raw, labels = ({name: pair[index] for name, pair in pairs.items()} for index in (0, 1))
    return columns(tasks, raw, labels)


def test_a_sheet_has_the_panels_pixel_by_pixel_in_rows_below_each_other() -> None:
    size = 101, 200  # shown twice as large
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    shown = compared(size, SPECS[:1] + SPECS[4:5])
    sheet = np.array(Sheet(image, shown).draw())
    text = 400 // 24
    x = [text + index * (400 + text) for index in range(3)]
    y = [text + text * 3 // 2]
    row = text * 3 // 2 + 202 + text * 3 // 2 + text // 2 + text
    y += [y[0] + row, y[0] + 2 * row]
    assert sheet.shape[1] == x[2] + 400 + text
    assert (sheet[:text, :] == 255).all()

    def panel(column: int, line: int) -> np.ndarray:
        return sheet[y[line] : y[line] + 202 : 2, x[column] : x[column] + 400 : 2]

    np.testing.assert_array_equal(panel(0, 0), image)
    for column, drawn in enumerate(shown, start=1):
        for line in range(3):
            np.testing.assert_array_equal(panel(column, line), drawn.panels[line].picture)
        np.testing.assert_array_equal(panel(column, 0), panel(column, 1))
        assert {tuple(c) for c in panel(column, 2).reshape(-1, 3).tolist()} == {WHITE_OF_REDS}


def test_without_labels_there_is_one_row_and_the_legend_runs_along_the_foot() -> None:
    tasks = {spec.name: build_task(spec) for spec in SPECS}
    raw = {name: perfect(task, (40, 60))[0] for name, task in tasks.items()}
    shown = columns(tasks, raw, None)
    assert all(len(column.panels) == 1 and column.score is None for column in shown)
    image = np.zeros((40, 60, 3), np.uint8)
    high = Sheet(image, shown).draw()
    flat = Sheet(image, [column for column in shown if not column.legend]).draw()
    assert high.height > flat.height
    assert np.array(high).reshape(-1, 3).tolist().count([128, 0, 0]) > 100, "the colour of the first class"


def test_a_task_without_a_label_is_shown_without_error_and_nothing_labelled_is_said() -> None:
    tasks = {"depth": build_task(TaskSpec("depth")), "parts": build_task(SPECS[1])}
    raw = {"depth": torch.ones(1, 4, 4), "parts": torch.randn(3, 4, 4)}
    depth, parts = columns(tasks, raw, {"parts": torch.full((1, 4, 4), float(IGNORE))})
    assert [panel.picture is None for panel in depth.panels] == [False, True, True]
    assert depth.score is None
    assert parts.score == "nothing labelled"
    assert (parts.panels[2].picture == UNLABELLED).all()
    Sheet(np.zeros((4, 4, 3), np.uint8), [depth, parts]).draw()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (900, 2)])
def test_extreme_sizes_are_drawn(size: tuple[int, int]) -> None:
    sheet = Sheet(np.zeros((*size, 3), np.uint8), compared(size, SPECS)).draw()
    assert sheet.width > 1000


def test_names_are_escaped_and_addresses_quoted() -> None:
    column = Column("SemSeg", compared((2, 2), SPECS[:1])[0].panels, [("<i>bed</i>", (1, 2, 3))], "3% wrong")
    odd = 'caf\udce9 <b>&"#?%.png'  # with a byte that is no UTF-8
    html = page("<t>", ["a & b"], [Entry(odd, odd, (10, 20), [column])])
    assert "<b>" not in html
    assert "<i>" not in html
    assert "<t>" not in html
    assert "caf\ufffd &lt;b&gt;&amp;&#34;#?%.png</a>" in html
    assert 'src="caf%E9%20%3Cb%3E%26%22%23%3F%25.png" width="10" height="20"' in html
    assert "SemSeg (&lt;i&gt;bed&lt;/i&gt;). SemSeg: 3% wrong" in html
    html.encode()
