"""What must hold of every meter, whatever the data."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.problem import TaskSpec
from harness.protocol import PROFILES, Protocol
from harness.records.metric import Metric
from harness.tasks import build_task, confusion
from harness.tasks.base import IGNORE, Meter
from harness.tasks.fmeasure import POOLED_THRESHOLDS, cutoffs
from harness.tasks.normals import angle
from harness.tasks.tally import BLOCK, tally, tally_bins

SPECS = {
    "semseg": TaskSpec("semseg", 5),
    "parts": TaskSpec("parts", 7),
    "saliency": TaskSpec("saliency"),
    "normals": TaskSpec("normals"),
    "depth": TaskSpec("depth"),
}
MEASURED = [(name, profile) for name in SPECS for profile in PROFILES]
some_settings = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def meter_of(name: str, profile: str) -> Meter:
    return build_task(SPECS[name]).meter(Protocol.profile(profile))


def batch(name: str, seed: int, images: int, ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    """A random batch in the form of `harness.data.sample.Batch`, with a share of ignored pixels."""
    spec, generator = SPECS[name], torch.Generator().manual_seed(seed)
    height, width = 6, 7

    def noise(channels: int) -> Tensor:
        return torch.randn(images, channels, height, width, generator=generator)

    prediction, hole = noise(spec.channels), torch.rand(images, 1, height, width, generator=generator) < ignored
    if name == "normals":
        target = torch.nn.functional.normalize(noise(3), dim=1)
    elif name == "depth":
        prediction, target = prediction.abs() * 5, noise(1).abs() * 5 + 0.1
    else:
        target = torch.randint(spec.num_classes or 2, (images, 1, height, width), generator=generator).float()
    return prediction, torch.where(hole, float(IGNORE), target)


def oracle(name: str, target: Tensor) -> Tensor:
    """The raw prediction that says what the label says."""
    if name == "normals":
        return target * 3
    if name == "depth":
        return target
    classes = SPECS[name].num_classes or 2
    label = torch.where(target[:, 0] == IGNORE, 0, target[:, 0]).long()
    return torch.nn.functional.one_hot(label, classes).permute(0, 3, 1, 2).float() * 20


def assert_same(left: dict[str, Metric], right: dict[str, Metric], tolerance: float = 1e-12) -> None:
    assert left.keys() == right.keys()
    for name, figure in left.items():
        assert figure.n == right[name].n
        assert figure.value == pytest.approx(right[name].value, rel=tolerance)


@pytest.mark.parametrize(("name", "profile"), MEASURED)
@some_settings
@given(seed=seeds, images=st.integers(2, 4))
def test_one_batch_equals_many_and_merged(name: str, profile: str, seed: int, images: int) -> None:
    prediction, target = batch(name, seed, images)
    whole, single = meter_of(name, profile), meter_of(name, profile)
    parts = [meter_of(name, profile) for _ in range(images)]
    whole.update(prediction, target)
    for index, part in enumerate(parts):
        single.update(prediction[index : index + 1], target[index : index + 1])
        part.update(prediction[index : index + 1], target[index : index + 1])
    merged = meter_of(name, profile)
    for part in parts:
        merged.merge(part)
    # The vector and the scalar kernel of a function may differ in the last bit of float32.
    tolerance = 1e-7 if name in ("normals", "depth") else 1e-12
    assert_same(whole.compute(), single.compute(), tolerance)
    assert_same(single.compute(), merged.compute())


@pytest.mark.parametrize(("name", "profile"), MEASURED)
@some_settings
@given(seed=seeds)
def test_order_of_images_and_pixels_does_not_matter(name: str, profile: str, seed: int) -> None:
    prediction, target = batch(name, seed, 3)
    images = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    pixels = torch.randperm(42, generator=torch.Generator().manual_seed(seed + 1))

    def shuffled(maps: Tensor) -> Tensor:
        return maps[images].flatten(2)[:, :, pixels].view_as(maps)

    plain, mixed = meter_of(name, profile), meter_of(name, profile)
    plain.update(prediction, target)
    mixed.update(shuffled(prediction), shuffled(target))
    for key, figure in plain.compute().items():
        # Rows are summed in float32, so other rows round otherwise.
        assert figure.value == pytest.approx(mixed.compute()[key].value, rel=1e-6)


@pytest.mark.parametrize(("name", "profile"), MEASURED)
@some_settings
@given(seed=seeds)
def test_inputs_are_left_untouched(name: str, profile: str, seed: int) -> None:
    prediction, target = batch(name, seed, 2)
    prediction.requires_grad_()
    before = prediction.detach().clone(), target.clone()
    meter_of(name, profile).update(prediction, target)
    assert torch.equal(prediction.detach(), before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("name", list(SPECS))
@some_settings
@given(seed=seeds)
def test_ignored_pixels_change_nothing(name: str, seed: int) -> None:
    prediction, target = batch(name, seed, 2, ignored=0.4)
    other = torch.where(target.amax(1, keepdim=True) == IGNORE, torch.nan, prediction)
    plain, disturbed = meter_of(name, "invpt"), meter_of(name, "invpt")
    plain.update(prediction, target)
    disturbed.update(other, target)
    assert_same(plain.compute(), disturbed.compute())


@pytest.mark.parametrize("name", list(SPECS))
@some_settings
@given(seed=seeds)
def test_the_label_as_prediction_is_perfect(name: str, seed: int) -> None:
    _, target = batch(name, seed, 2)
    meter = meter_of(name, "invpt")
    meter.update(oracle(name, target), target)
    figures = meter.compute()
    key = "miou_present" if meter.headline == "miou" else meter.headline
    worst = {"normals": 1e-3}.get(name, 1e-6)
    assert figures[key].value == pytest.approx(1.0 if figures[key].higher_is_better else 0.0, abs=worst)


@pytest.mark.parametrize(("name", "profile"), MEASURED)
def test_headline_is_first_and_every_figure_names_its_convention(name: str, profile: str) -> None:
    meter = meter_of(name, profile)
    meter.update(*batch(name, 0, 2))
    figures = meter.compute()
    assert next(iter(figures)) == meter.headline
    assert all(figure.protocol.startswith(f"{name}.") for figure in figures.values())


@pytest.mark.parametrize("name", ["saliency", "normals", "depth"])
@pytest.mark.parametrize("seen", [False, True])
def test_nothing_valid_is_null_with_the_reason(name: str, seen: bool) -> None:
    meter = meter_of(name, "invpt")
    if seen:
        prediction, target = batch(name, 0, 2)
        meter.update(prediction, torch.full_like(target, IGNORE))
    for figure in meter.compute().values():
        assert figure.value is None
        assert figure.n == 0
        assert figure.reason == "no valid pixel"


def test_mean_iou_of_nothing_is_null_with_the_reason_and_that_of_no_person_zero() -> None:
    metrics = meter_of("semseg", "invpt").compute()
    for name in ("miou", "miou_present"):
        assert (metrics[name].value, metrics[name].n, metrics[name].reason) == (None, 0, "no valid pixel")
    assert meter_of("parts", "invpt").compute()["miou"].value == 0


@pytest.mark.parametrize(("profile", "expected"), [("share", 1.0), ("invpt", 0.2)])
def test_the_label_past_the_last_class_is_ignored_by_the_sharing_papers_scorer(profile: str, expected: float) -> None:
    meter = build_task(TaskSpec("semseg", 5)).meter(Protocol.profile(profile))
    target = torch.zeros(1, 1, 2, 2)
    target[0, 0, 0, 0] = 5  # predicted as 0, which is a false positive where the label counts
    scores = torch.zeros(1, 5, 2, 2)
    scores[:, 0] = 1
    meter.update(scores, target)
    factor = 1 if profile == "share" else 3 / 4
    assert meter.compute()["miou"].value == pytest.approx(expected * factor)


@some_settings
@given(seed=seeds, channels=st.integers(1, 45), levels=st.integers(1, 6))
def test_labels_are_the_first_largest_channel(seed: int, channels: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (2, channels, 5, 6), generator=generator).float()
    target = torch.randint(7, (2, 5, 6), generator=generator)
    first = (scores == scores.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    expected = torch.stack(
        [
            torch.bincount((t * channels + f).flatten(), minlength=7 * channels)
            for t, f in zip(target, first, strict=True)
        ]
    )
    assert torch.equal(tally(scores, target, 7), expected.view(2, 7, channels))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_counts_do_not_depend_on_threads_and_blocks(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scores = torch.randn(1, 3, 5, BLOCK)
        target = torch.randint(4, (1, 5, BLOCK))
        counts = tally(scores, target, 4)
    finally:
        torch.set_num_threads(before)
    expected = torch.bincount((target * 3 + scores.argmax(1)).flatten(), minlength=12).view(1, 4, 3)
    assert torch.equal(counts, expected)


@pytest.mark.parametrize("task", ["semseg", "saliency"])
def test_the_compiled_counts_are_those_of_the_general_path(task: str) -> None:
    meter: Any = meter_of(task, "atrc")
    values = torch.randint(0, 21, (2, 6, 7)) / 20  # many lie on a threshold
    target = torch.tensor([0.0, 1.0, 255.0])[torch.randint(3, (2, 6, 7))]
    if task == "saliency":
        compiled = tally_bins(values, target, meter.edges, 256)
        assert torch.equal(compiled, meter._histogram(values, target))
    else:
        scores = torch.randn(2, 5, 6, 7)
        general = confusion._histogram(scores.argmax(1), target[:, None], 5)
        assert torch.equal(tally(scores, target, 256), general)


def test_a_prediction_outside_the_classes_costs_only_the_missed_pixel() -> None:
    scores = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]).view(1, 3, 1, 2)
    scores[0, 1, 0, 1] = 1
    meter: Any = build_task(TaskSpec("semseg", 2)).meter(Protocol())
    meter.update(scores, torch.tensor([[[[0.0, 1.0]]]]))
    assert meter.class_iou().tolist() == [0.0, 1.0]


@some_settings
@given(seed=seeds)
def test_cutoffs_say_what_the_second_sigmoid_says(seed: int) -> None:
    p = torch.rand(1000, generator=torch.Generator().manual_seed(seed))
    twice = (p * 255 / 255).sigmoid()[:, None] >= POOLED_THRESHOLDS
    assert torch.equal(p[:, None] >= cutoffs("double-sigmoid"), twice)


def test_the_second_sigmoid_leaves_five_operating_points() -> None:
    cuts = cutoffs("double-sigmoid")
    assert cuts[:10].tolist() == [0.0] * 10
    expected = [math.log(t / (1 - t)) for t in (0.55, 0.6, 0.65, 0.7)]
    assert cuts[10:14].tolist() == pytest.approx(expected, abs=1e-6)
    assert cuts[14:].tolist() == [math.inf] * 5


@some_settings
@given(seed=seeds, scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e3]))
def test_angle_is_that_of_the_unit_difference_and_sum(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(1, 3, 4, 4, generator=generator)
    p = (g + 10.0 ** torch.randint(-5, 2, (1, 1, 4, 4), generator=generator) * torch.randn_like(g)) * scale
    unit_p, unit_g = (torch.nn.functional.normalize(v.double(), dim=1) for v in (p, g))
    half = torch.atan2((unit_p - unit_g).norm(dim=1), (unit_p + unit_g).norm(dim=1))
    torch.testing.assert_close(angle(p, g, "atan2").double(), torch.rad2deg(2 * half), atol=1e-4, rtol=1e-6)


def test_a_zero_prediction_is_at_a_right_angle() -> None:
    assert angle(torch.zeros(1, 3, 1, 1), torch.tensor([0.6, -0.8, 0.0]).view(1, 3, 1, 1), "atan2").item() == 90


def test_eight_bits_put_a_floor_under_the_angle() -> None:
    g = torch.nn.functional.normalize(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    assert angle(g, g, "acos-uint8").mean().item() == pytest.approx(0.34, abs=0.03)
    assert angle(g, g, "acos-raw").mean().item() < 0.03


def test_eight_bit_saliency_is_floored_before_the_threshold() -> None:
    # Both lie above the threshold 0.25; floored, 64 / 255 still does and 63 / 255 does not.
    raw = torch.tensor([64.9 / 255, 63.9 / 255]).logit().view(1, 1, 1, 2)
    label = torch.tensor([[[[1.0, 0.0]]]])
    for mode, expected in (("per-image", 2 / 3), ("per-image-uint8", 1.0)):
        protocol = Protocol.profile("mtinet", {"saliency_mode": mode})
        meter: Any = build_task(TaskSpec("saliency")).meter(protocol)
        meter.update(raw, label)
        called = [meter.called(meter.statistics()[name][0], mode)[1] for name in ("negative", "positive")]
        precision = called[1] / sum(called)
        assert 2 * precision / (1 + precision) == pytest.approx(expected)


def test_void_counts_as_salient_only_where_the_protocol_says_so() -> None:
    raw, label = torch.full((1, 1, 1, 4), 5.0), torch.tensor([[[[1.0, 0.0, 255.0, 255.0]]]])
    found = {}
    for void in ("ignored", "salient"):
        meter = build_task(TaskSpec("saliency")).meter(
            Protocol.profile("mtinet", {"saliency_mode": "per-image", "saliency_void": void})
        )
        meter.update(raw, label)
        found[void] = meter.compute()["miou"].value
    assert found == {"ignored": pytest.approx(0.5), "salient": pytest.approx(0.75)}


def test_depth_of_a_diverged_network_is_null_and_says_so() -> None:
    meter = meter_of("depth", "invpt")
    meter.update(torch.full((1, 1, 2, 2), torch.nan), torch.ones(1, 1, 2, 2))
    figure = meter.compute()["rmse"]
    assert figure.value is None
    assert figure.reason == "the computed value is nan"
