"""The odsF meter: the boundary score fed by raw maps and padded labels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.boundary import BoundaryRule, count_image, score
from harness.errors import UsageError
from harness.problem import BOUNDARY_TRUTH, TaskSpec
from harness.protocol import Protocol
from harness.tasks import boundary as boundary_meter
from harness.tasks import build_task
from harness.tasks.boundary import BoundaryMeter

SPEC = TaskSpec("boundary", tolerance=0.011)


def scene(seed: int, height: int = 60, width: int = 80) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A probability map with soft ridges, and true boundaries near them."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((height, width), bool)
    truth[rng.integers(8, height - 8)], truth[:, rng.integers(8, width - 8)] = True, True
    soft = np.zeros((height, width), np.float32)
    for shift, value in ((-1, 0.3), (0, 0.8), (1, 0.4)):
        soft = np.maximum(soft, value * np.roll(truth, shift, (0, 1)))
    return (soft * 0.9 + 0.1 * rng.random((height, width))).astype(np.float32).clip(0.001, 0.999), truth


def batch(seeds: range, pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and padded labels of some scenes."""
    maps, truths = zip(*(scene(seed) for seed in seeds), strict=True)
    logits = torch.logit(torch.from_numpy(np.stack(maps)))[:, None]
    labels = torch.from_numpy(np.stack(truths)).float()[:, None]
    sides = (pad, pad, pad, pad)
    return torch.nn.functional.pad(logits, sides, value=3.0), torch.nn.functional.pad(labels, sides, value=255)


def meter() -> BoundaryMeter:
    made = build_task(SPEC).meter(Protocol())
    assert isinstance(made, BoundaryMeter)
    return made


@pytest.fixture(params=["at once", "in processes"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in processes":
        monkeypatch.setattr(boundary_meter, "POOL_FROM_PIXELS", 0)


@pytest.mark.usefixtures("place")
def test_padding_is_cut_off_and_predictions_are_8_bit() -> None:
    subject = meter()
    subject.update(*batch(range(4), pad=5))
    figures = subject.compute()
    rule = BoundaryRule(0.011)
    logits, labels = batch(range(4))
    counts = [
        count_image((torch.sigmoid(one) * 255).floor().to(torch.uint8).numpy(), truth.numpy() == 1, rule)
        for one, truth in zip(logits[:, 0], labels[:, 0], strict=True)
    ]
    expected = score(counts, rule)
    assert figures["odsf"].value == expected.ods_f
    assert figures["oisf"].value == expected.ois_f
    assert figures["ap"].value == expected.ap
    assert figures["odsf"].n == 4
    assert 0.5 < expected.ods_f < 1


@pytest.mark.usefixtures("place")
def test_parts_of_a_split_merge_to_the_whole() -> None:
    whole, first, second = meter(), meter(), meter()
    whole.update(*batch(range(5), pad=2))
    first.update(*batch(range(2), pad=2))
    second.update(*batch(range(2, 5), pad=7))
    first.merge(second)
    assert first.compute() == whole.compute()


def test_images_without_a_label_are_skipped_and_none_at_all_is_null() -> None:
    subject = meter()
    logits, labels = batch(range(1))
    subject.update(logits, torch.full_like(labels, 255))
    figure = subject.compute()["odsf"]
    assert figure.value is None
    assert figure.n == 0
    assert figure.reason


def test_the_protocol_chooses_rule_label_and_id() -> None:
    task = build_task(SPEC)
    assert task.scored_label(Protocol()) == BOUNDARY_TRUTH
    assert task.scored_label(Protocol(boundary_gt="training")) == "boundary"
    plain = task.meter(Protocol(boundary_nms="none", boundary_match="greedy"))
    assert isinstance(plain, BoundaryMeter)
    assert (plain.rule.nms, plain.rule.matcher, len(plain.rule.thresholds)) == (False, "greedy", 99)
    assert "no-nms,greedy" in plain.compute()["odsf"].protocol
    assert len(meter().rule.thresholds) == 101


def test_closing_early_ends_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary_meter, "POOL_FROM_PIXELS", 0)
    subject = meter()
    subject.update(*batch(range(3)))
    pool = subject._pool
    assert pool is not None
    subject.close()
    assert all(worker._process.poll() is not None for worker in pool._workers)


def test_a_data_set_must_say_how_far_a_match_may_lie() -> None:
    with pytest.raises(UsageError, match="tolerance"):
        build_task(TaskSpec("boundary")).meter(Protocol())
