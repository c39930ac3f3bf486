"""Life of a stream: resets, cuts, gaps, broken frames, weights that change, tasks that come and go."""

import math
from copy import deepcopy

import pytest
import torch
from nets import MODELS, PROBLEM, clip, dense, shared, single
from torch import Tensor

from harness.baselines.single_task import SingleTask
from harness.errors import MethodError, UsageError
from harness.stream import Stream, StreamPolicy, open_stream
from harness.stream.pool import StreamPool


def opened(name: str = "share", **policy: object) -> Stream:
    return open_stream(MODELS[name](), StreamPolicy.model_validate({"mode": "gated", **policy}))


def kinds(stream: Stream, images: list[Tensor], times: list[float | None] | None = None) -> list[str]:
    return [
        stream.step(image, pts).report.kind for image, pts in zip(images, times or [None] * len(images), strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_reset_forgets(name: str) -> None:
    stream = opened(name)
    assert kinds(stream, clip(2)) == ["full:first", "partial"]
    held = stream.state_bytes
    stream.reset()
    assert stream.state_bytes == 0 < held
    assert kinds(stream, clip(2)) == ["full:first", "partial"]


def test_a_scene_cut_is_caught_and_a_moving_camera_is_not() -> None:
    still, other = clip(3), clip(3, seed=1)
    assert kinds(opened(), still + other) == ["full:first", "partial", "partial", "full:cut", "partial", "partial"]
    assert kinds(opened(keyframes="first"), still + other)[3] == "partial"


def test_periodic_full_passes_and_turns() -> None:
    images = clip(7)
    assert [kind[:4] for kind in kinds(opened(keyframes="period:3"), images)] == ["full", "part", "part"] * 2 + ["full"]
    stream = opened(keyframes="period:3:stagger", rows=0.1)
    dense_at: dict[str, list[int]] = {task: [] for task in PROBLEM.names}
    for index, image in enumerate(images):
        for task, blocks in stream.step(image).report.active.items():
            if blocks[0] == (1.0, 1.0):
                dense_at[task].append(index)
    assert dense_at == {"semseg": [0, 3, 6], "depth": [0, 1, 4], "normals": [0, 2, 5]}


def test_age_counts_frames_and_seconds() -> None:
    assert kinds(opened(max_age=2), clip(4)) == ["full:first", "partial", "full:age", "partial"]
    times: list[float | None] = [0.0, 0.5, 1.0, 1.5]
    assert kinds(opened(max_age_s=1.0), clip(4), times) == ["full:first", "partial", "full:age", "partial"]


def test_seeking_and_gaps_restart_and_dropped_frames_do_not() -> None:
    times: list[float | None] = [0.0, 0.1, 0.05, 0.4, 1.5]  # back, four frames dropped, a gap
    assert kinds(opened(), clip(5), times) == ["full:first", "partial", "full:seek", "partial", "full:seek"]


def test_a_frame_of_nan_is_marked_and_leaves_no_past() -> None:
    first, second, third = clip(3)
    stream = opened("single-task")
    assert kinds(stream, [first, torch.full_like(first, math.nan)]) == ["full:first", "full:nan"]
    assert stream.state_bytes == 0
    frame = stream.step(second)
    assert frame.report.kind == "full:first"
    assert all(prediction.isfinite().all() for prediction in frame.predictions.values())
    assert stream.step(third).report.kind == "partial"
    assert kinds(opened(), [torch.full_like(first, math.nan), second]) == ["full:nan", "full:first"]


def test_a_state_that_went_wrong_heals_at_once() -> None:
    model, images = single(), clip(2)
    stream = open_stream(model, StreamPolicy(mode="gated", rows=0.1))
    stream.step(images[0])
    with torch.inference_mode():
        stream.networks[1].state[2].o.fill_(math.inf)  # type: ignore[attr-defined]
    frame = stream.step(images[1])
    assert frame.report.kind == "full:nan"
    torch.testing.assert_close(frame.predictions["depth"], dense(model, images[1])["depth"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_other_weights_void_the_past(name: str) -> None:
    model, images = deepcopy(MODELS[name]()), clip(3)
    stream = open_stream(model, StreamPolicy(mode="gated", rows=0.1))
    assert kinds(stream, images[:2]) == ["full:first", "partial"]
    model.train()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.9)
    model.eval()
    frame = stream.step(images[2])
    assert frame.report.kind == "full:weights"
    expected = dense(model, images[2])
    for task in PROBLEM.names:
        torch.testing.assert_close(frame.predictions[task], expected[task], rtol=0, atol=1e-5)


def test_another_number_of_cameras_restarts_a_stream_and_is_refused_where_that_is_asked_for() -> None:
    one, two = clip(1)[0], clip(1, batch=2)[0]
    assert kinds(opened(rows=0.1), [one, two]) == ["full:first", "full:resize"]
    stream = opened(rows=0.1, strict=True)
    stream.step(one)
    with pytest.raises(MethodError, match=r"changed at frame 1, which a strict stream refuses"):
        stream.step(two)
    with pytest.raises(UsageError, match="select top-k, or open one each"):
        kinds(opened(threshold=0.1), clip(2, batch=2))


def test_tasks_may_come_and_go() -> None:
    model, images = shared(), clip(3)
    stream = open_stream(model, StreamPolicy(rows=0.1))
    assert stream.step(images[0], tasks=["semseg"]).predictions.keys() == {"semseg"}
    frame = stream.step(images[1], tasks=["depth"])
    assert frame.predictions.keys() == {"depth"}
    assert frame.report.active["depth"][0] == (1.0, 1.0) != frame.report.active["semseg"][0]
    assert stream.step(images[2]).predictions.keys() == {*PROBLEM.names}


def test_a_frame_that_does_not_fit_is_one_line() -> None:
    for policy in ({}, {"mode": "per-frame"}):
        with pytest.raises(MethodError, match=r"a frame of shape \[1, 3, 48, 63\] does not fit"):
            opened("single-task", **policy).step(torch.zeros(1, 3, 48, 63))


def test_models_without_gates_stream_frame_by_frame() -> None:
    model = SingleTask(SingleTask.Options(), "resnet-micro").build(PROBLEM).eval()
    frames = [open_stream(model).step(image) for image in clip(2)]
    assert {frame.report.kind for frame in frames} == {"per-frame"}
    with pytest.raises(UsageError, match="plain ViT encoders"):
        open_stream(model, StreamPolicy(mode="gated"))


def test_copies_repeat_the_last_prediction() -> None:
    stream, images = open_stream(single(), StreamPolicy(mode="copy", copy_every=2)), clip(4)
    frames = [stream.step(image) for image in images]
    assert [frame.report.kind for frame in frames] == ["per-frame", "copy", "per-frame", "copy"]
    assert torch.equal(frames[1].predictions["depth"], frames[0].predictions["depth"])
    assert not torch.equal(frames[2].predictions["depth"], frames[0].predictions["depth"])


def test_streams_share_a_budget_of_bytes() -> None:
    model, image = single(), clip(1)[0]
    stream = open_stream(model, StreamPolicy(mode="gated"))
    stream.step(image)
    pool = StreamPool(model, StreamPolicy(mode="gated"), budget=2 * stream.state_bytes)
    for name in ("left", "right", "left"):
        pool.step(name, image)
    assert pool.state_bytes == 2 * stream.state_bytes
    with pytest.raises(UsageError, match=r"stream third: 3 streams carry .* MB, the budget is"):
        pool.step("third", image)
    pool.close("left")
    pool.step("third", image)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keyframes": "period"}, "keyframes: must be first, adaptive, period:K"),
        ({"rows": 2}, "rows: must be less than or equal to 1, not 2"),
        ({"row": 2}, "row: there is no such field"),
    ],
)
def test_wrong_settings_are_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StreamPolicy.read(values, "--set stream.")


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        opened(rows_of="base", start="base")
    with pytest.raises(UsageError, match="has 4 blocks"):
        opened(cut_layer=5)


def test_buckets_choose_one_fraction_a_frame() -> None:
    images = clip(3, step=0.5)
    stream = opened("share", threshold=0.1, buckets=True, heads="dense")
    for image in images:
        report = stream.step(image).report
        fractions = {pair for blocks in report.active.values() for pair in blocks}
        assert len(fractions) <= 1 + len(report.active)  # one per network
