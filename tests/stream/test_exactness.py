"""Gated streams against dense runs, the image method and a plain implementation; formulas of MACs and bytes."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import BLOCKS, MODELS, PROBLEM, TOKENS, WIDTH, clip, dense, shared, single
from torch import Tensor
from torch.nn import functional as F

from harness.counting import count_macs
from harness.heads.convnext import ConvNeXtHead
from harness.methods.share.stream import SharedStream
from harness.model import MultiTaskModel
from harness.stream import FrameReport, Stream, StreamPolicy, open_stream
from harness.stream.gated import GatedStream
from harness.stream.heads import head_state_bytes
from harness.stream.state import block_state_bytes
from harness.stream.vit import TemporalViT


def opened(model: MultiTaskModel, **policy: object) -> GatedStream:
    stream = open_stream(model, StreamPolicy.model_validate({"mode": "gated", "heads": "dense", **policy}))
    assert isinstance(stream, GatedStream)
    return stream


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[task] - expected[task]).abs().max()) for task in found)


def block_macs(stream: Stream, image: Tensor) -> int:
    macs = stream.step(image).report.macs
    return sum(count for part, count in macs.items() if part.startswith("blocks"))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("policy", [{"rows": 1.0}, {"rows": 1.0, "keyframes": "period:2"}, {"threshold": 1e-7}])
@pytest.mark.parametrize("heads", ["dense", "gated"])
def test_with_every_token_active_each_frame_equals_dense(name: str, policy: dict[str, object], heads: str) -> None:
    model = MODELS[name]()
    stream = opened(model, heads=heads, head_rows=1.0, head_threshold=0, **policy)
    for image in clip(3, step=1.0):
        assert furthest(stream.step(image).predictions, dense(model, image)) <= 1e-6


@pytest.mark.parametrize("cut_layer", [1, 2, 4])
def test_with_every_token_active_the_reference_has_no_say(cut_layer: int) -> None:
    model = shared()
    stream = opened(model, rows=1.0, cut_layer=cut_layer, keyframes="period:2:stagger")
    for image in clip():
        assert furthest(stream.step(image).predictions, dense(model, image)) == 0


@pytest.mark.parametrize("options", [{}, {"shared_blocks": 2}, {"policy": "threshold", "threshold": 0.3}])
def test_the_first_frame_from_the_base_equals_the_image_method(options: dict[str, object]) -> None:
    model, [image] = shared(**options), clip(1)
    with torch.inference_mode():
        expected = model(image)
    assert furthest(opened(model, start="base").step(image).predictions, expected) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_a_repeated_image_costs_nothing_and_changes_nothing(name: str) -> None:
    stream, [image] = opened(MODELS[name](), threshold=1e-6, heads="gated", head_threshold=1e-6), clip(1)
    first = stream.step(image)
    for _ in range(3):
        again = stream.step(image)
        assert not any(macs for part, macs in again.report.macs.items() if not part.startswith("embed"))
        assert all(torch.equal(first.predictions[task], again.predictions[task]) for task in PROBLEM.names)


def test_a_keyframe_on_every_frame_equals_frame_by_frame() -> None:
    model = single()
    stream = opened(model, rows=0.1, keyframes="period:1")
    for image in clip():
        frame = stream.step(image)
        assert frame.report.full
        assert furthest(frame.predictions, dense(model, image)) == 0


@pytest.mark.parametrize("start", ["dense", "base"])
def test_results_follow_from_the_inputs_they_refer_to(start: str) -> None:
    stream = opened(shared(), rows=0.2, start=start)
    assert isinstance(stream, SharedStream)
    images = clip()
    with torch.inference_mode():
        for image in images:
            stream.step(image)
        networks = stream.networks if start == "dense" else stream.networks[:1]  # else some rows are the base's
        for network in networks:
            for index, held in network.state.items():
                layers = network.vit.layers[index]
                assert held.u1 is not None
                assert held.u2 is not None
                torch.testing.assert_close(held.kv, layers.qkv.linear(held.u1)[..., WIDTH:], rtol=0, atol=1e-5)
                y = layers.fc2.linear(F.gelu(layers.fc1.linear(held.u2)))
                torch.testing.assert_close(held.y, y, rtol=0, atol=1e-5)


def plain_step(
    stream: GatedStream, image: Tensor, past: list[dict[str, Tensor]] | None, fraction: float
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Run one network by copying: the algorithm written down once more."""
    vit = stream.networks[0].vit
    x, now = vit.embed(image), []
    for index in vit.blocks:
        layers, old = vit.layers[index], past[index] if past else None

        def rows(u: Tensor, reference: Tensor | None) -> Tensor:
            if reference is None:
                return torch.arange(u.shape[1])
            change = (u - reference).square().mean(-1)[0]
            change[0] = torch.inf
            return change.topk(int(np.ceil(fraction * len(change)))).indices

        u = layers.norm1.norm(x)
        i = rows(u, old["u1"] if old else None)
        new = (
            {key: value.clone() for key, value in old.items()}
            if old
            else {"u1": u.clone(), "kv": u.repeat(1, 1, 2), "o": u.clone()}
        )
        new["u1"][:, i] = u[:, i]
        qkv = layers.qkv.linear(u[:, i])
        new["kv"][:, i] = qkv[..., WIDTH:]
        split = [
            part.unflatten(-1, (vit.heads, -1)).transpose(1, 2) for part in (qkv[..., :WIDTH], *new["kv"].chunk(2, -1))
        ]
        new["o"][:, i] = layers.proj.linear(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))
        x = x + new["o"]
        v = layers.norm2.norm(x)
        j = rows(v, old["u2"] if old else None)
        if old is None:
            new |= {"u2": v.clone(), "y": v.clone()}
        new["u2"][:, j] = v[:, j]
        new["y"][:, j] = layers.fc2.linear(F.gelu(layers.fc1.linear(v[:, j])))
        x = x + new["y"]
        now.append(new)
    return vit.features(x), now


def test_in_place_equals_copying() -> None:
    model = single()
    stream, past = opened(model, rows=0.3), None
    for image in clip(5):
        with torch.inference_mode():
            features, past = plain_step(stream, image, past, 0.3)
            expected = stream.networks[0].heads["semseg"](features)
        found = stream.step(image, tasks=["semseg"]).predictions["semseg"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_sub_task_with_the_bases_weights_and_rows_equals_the_base() -> None:
    model = shared(shared_blocks=1)
    stream = opened(model, rows=0.2, rows_of="base")
    base, *subs = stream.networks
    for sub in subs:
        sub.vit = TemporalViT(model.base, model.base_weights, range(1, BLOCKS))
    for image in clip():
        stream.step(image)
        for sub in subs:
            assert all(torch.equal(held.y, base.state[index].y) for index, held in sub.state.items())


def fingerprint(stream: GatedStream) -> str:
    found = hashlib.sha256()
    for held in stream.networks[0].state.values():
        for tensor in held.tensors():
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    "policy", [{}, {"cut_layer": 2}, {"start": "base-always", "keyframes": "period:2"}, {"rows_of": "base"}]
)
def test_sub_tasks_leave_the_base_alone(policy: dict[str, object]) -> None:
    model = shared()
    alone, together = opened(model, rows=0.2, **policy), opened(model, rows=0.2, **policy)
    for image in clip():
        alone.step(image, tasks=["semseg"])
        together.step(image)
        assert fingerprint(alone) == fingerprint(together)


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_two_cameras_equals_two_streams(name: str) -> None:
    model = MODELS[name]()
    both = opened(model, rows=0.25, heads="gated")
    each = [opened(model, rows=0.25, heads="gated") for _ in range(2)]
    for image in clip(batch=2):
        found = both.step(image).predictions
        apart = [stream.step(one[None]).predictions for stream, one in zip(each, image, strict=True)]
        assert furthest(found, {task: torch.cat([one[task] for one in apart]) for task in found}) < 1e-5


def test_the_order_of_sub_tasks_changes_nothing() -> None:
    model = shared()
    forward, backward = opened(model, rows=0.2), opened(model, rows=0.2)
    backward.networks[1:] = backward.networks[:0:-1]
    for image in clip():
        assert furthest(forward.step(image).predictions, backward.step(image).predictions) == 0


def test_rolling_bounds_the_age_of_every_token() -> None:
    stream = opened(single(), rows=0.0, roll=4)
    vit, images = stream.networks[0].vit, clip(9)
    for image in images:
        stream.step(image)
    held = stream.networks[0].state[0].u1
    with torch.inference_mode():
        recent = torch.stack([vit.layers[0].norm1.norm(vit.embed(image))[0] for image in images[-4:]])  # [4, N, D]
        assert held is not None
        nearest = (recent - held).abs().amax(-1).amin(0)  # of each token to one of the last four frames
    assert float(nearest.max()) < 1e-5


def test_what_a_cap_cuts_off_is_chosen_on_the_next_still_frame() -> None:
    first, second = clip(2, step=2.0)
    stream = opened(single(), select="budgeted", threshold=0.05, cap=0.2)
    frames = [stream.step(image, tasks=["semseg"]) for image in (first, *[second] * 12)]
    active = [frame.report.active["semseg"][0][0] for frame in frames[1:]]
    assert active[0] == pytest.approx(0.2, abs=1 / TOKENS)
    assert active[1] > 0
    assert active[-1] == 0
    assert furthest(frames[-1].predictions, {"semseg": dense(single(), second)["semseg"]}) < 0.1


def test_many_active_tokens_make_a_block_dense_and_fresh() -> None:
    first, second = clip(2, step=5.0)
    stream = opened(single(), threshold=0.05, dense_above=0.3, keyframes="first")
    stream.step(first)
    frame = stream.step(second)
    assert frame.report.kind == "partial"
    assert set(frame.report.active["depth"]) == {(1.0, 1.0)}
    assert furthest(frame.predictions, dense(single(), second)) == 0


@settings(max_examples=12, deadline=None)
@given(st.floats(0.01, 0.5), st.integers(0, 1000))
def test_resting_tokens_are_nearer_than_the_threshold(threshold: float, seed: int) -> None:
    stream = opened(single(), threshold=threshold)
    with torch.inference_mode():
        for image in clip(4, step=0.3, seed=seed):
            stream.step(image, tasks=["depth"])
            network = stream.networks[1]
            x = network.vit.embed(image)
            for index, held in network.state.items():
                layers = network.vit.layers[index]
                assert held.u1 is not None
                assert held.u2 is not None
                for u, reference, branch in ((layers.norm1, held.u1, held.o), (layers.norm2, held.u2, held.y)):
                    change = (u.norm(x) - reference).square().mean(-1).sqrt()
                    assert float(change.max()) <= threshold + 1e-5
                    x = x + branch


def test_an_open_loop_lets_a_slow_ramp_pass() -> None:
    start, end = clip(2, step=3.0)
    images = [start + (end - start) * k / 40 for k in range(41)]
    errors = {}
    for loop in ("closed", "open"):
        stream = opened(single(), threshold=0.1, loop=loop)
        frame = [stream.step(image, tasks=["depth"]) for image in images][-1]
        errors[loop] = furthest(frame.predictions, {"depth": dense(single(), end)["depth"]})
    assert errors["open"] > 1.5 * errors["closed"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "policy",
    [
        {"rows": 0.1},
        {"threshold": 0.1, "heads": "gated"},
        {"rows": 0.2, "queries": "all"},
        {"rows": 0.1, "heads": "gated"},
    ],
)
def test_macs_by_formula_are_those_that_are_counted(name: str, policy: dict[str, object]) -> None:
    stream = opened(MODELS[name](), **policy)
    reports: list[FrameReport] = []
    for image in clip(3):
        counted = count_macs(lambda image=image: reports.append(stream.step(image).report))
        by_formula = reports[-1].macs
        assert counted.macs == sum(by_formula.values())
        assert {part: macs for part, macs in counted.per_part.items() if macs} == {
            part: macs for part, macs in by_formula.items() if macs
        }
    assert [report.kind for report in reports] == ["full:first", "partial", "partial"]


def test_bytes_of_the_state_are_those_of_the_formula() -> None:
    image, depth = clip(1)[0], BLOCKS
    embedding = TOKENS * WIDTH * 4
    own = depth * block_state_bytes(TOKENS, WIDTH)
    assert own == depth * 6 * WIDTH * TOKENS * 4
    assert 12 * block_state_bytes(1025, 768) == pytest.approx(227e6, rel=0.005)
    assert 4 * block_state_bytes(14 * 18 + 1, 96) == pytest.approx(2.3e6, rel=0.02)
    for model, policy, expected in (
        (single(), {}, 3 * own + embedding),
        (MODELS["multi-task"](), {}, own + embedding),
        (shared(), {}, 3 * own + embedding),
        (shared(shared_blocks=2), {}, 2 * own + embedding),
        (shared(), {"rows_of": "base"}, own + 2 * own * 4 // 6 + embedding),
        (shared(), {"queries": "all"}, 3 * own * 8 // 6 + embedding),
    ):
        stream = opened(model, **policy)
        assert stream.state_bytes == 0
        stream.step(image)
        assert stream.state_bytes == expected
    stream = opened(single(), heads="gated")
    stream.step(image)
    heads = [head for network in stream.networks for head in network.heads.values()]
    assert all(isinstance(head, ConvNeXtHead) for head in heads)
    assert stream.state_bytes == 3 * own + embedding + sum(head_state_bytes(head, TOKENS - 1) for head in heads)  # type: ignore[arg-type]
