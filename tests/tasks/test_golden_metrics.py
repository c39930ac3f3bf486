"""Every published convention against figures of the reference evaluators (tests/golden)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.records.delta_m import delta_m
from harness.records.metric import Metric
from harness.tasks import build_task
from harness.tasks.base import IGNORE, Meter
from harness.tasks.fmeasure import POOLED_THRESHOLDS, FMeasureMeter, Mode

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "metrics_cases.json").read_text())
ARRAYS = np.load(GOLDEN / "metrics_arrays.npz")

EXACT = 1e-9
SINGLE = 2e-6
"""Relative tolerance where the reference computes in float32."""

PER_IMAGE = {"saliency_mode": "per-image", "saliency_void": "salient"}
PROTOCOLS: dict[str, Protocol] = {
    "invpt": Protocol.profile("invpt"),
    "taskprompter": Protocol.profile("taskprompter"),
    "invpt_double_sigmoid": Protocol.profile("invpt"),
    "taskprompter_double_sigmoid_percent": Protocol.profile("taskprompter"),
    "atrc": Protocol.profile("atrc"),
    "atrc_ignore255": Protocol.profile("atrc"),
    "atrc_as_shipped_ignore0": Protocol.profile("atrc", {"depth_mask": "nonzero"}),
    "share": Protocol.profile("share"),
    "mtinet_online": Protocol.profile("mtinet", PER_IMAGE),
    "mtinet_online_acos": Protocol.profile("mtinet", {"normals_formula": "acos-raw"}),
    "mtinet_file": Protocol.profile("mtinet"),
    "mtinet_file_uint8": Protocol.profile("mtinet"),
    "astmt_file": Protocol.profile("astmt"),
    "astmt_file_uint8": Protocol.profile("astmt"),
    "astmt_file_per_image": Protocol.profile("astmt"),
}
STRICT_INVPT_DEPTH = Protocol.profile("invpt", {"depth_mask": "not-255"})


def cases(metric: str) -> list[Any]:
    return [
        pytest.param(case, variant, expected, id=f"{case['id']}-{variant}")
        for case in CASES
        if case.get("metric") == metric
        for variant, expected in case["expected"].items()
        if variant in PROTOCOLS
    ]


def scored(meter: Meter, case: dict[str, Any], prepare: Any) -> dict[str, Metric]:
    for names in case["inputs"]:
        meter.update(*prepare({key: torch.from_numpy(ARRAYS[name]) for key, name in names.items()}))
    return meter.compute()


def scores_of(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels.long(), classes).permute(0, 3, 1, 2).float()


def assert_close(figure: Metric, expected: float | str, tolerance: float, scale: float = 1.0) -> None:
    if expected == "nan":
        assert figure.value is None
        assert figure.reason
    else:
        assert figure.value is not None
        assert figure.value * scale == pytest.approx(float(expected), rel=tolerance, abs=1e-12)


@pytest.mark.parametrize(("case", "variant", "expected"), cases("semseg"))
def test_semseg(case: dict[str, Any], variant: str, expected: dict[str, Any]) -> None:
    classes = 40 if case["params"]["database"] == "NYUD" else 21
    meter = build_task(TaskSpec("semseg", classes)).meter(PROTOCOLS[variant])
    figures = scored(meter, case, lambda a: (scores_of(a["pred"], classes), a["gt"][:, None].float()))
    if variant == "share":
        assert_close(figures["miou"], expected["mIoU_nanmean"], EXACT)
        assert_close(figures["miou_present"], expected["mIoU_nanmean"], EXACT)
        assert_close(figures["pixel_acc"], expected["pixel_acc"], EXACT)
        assert_close(figures["mean_acc"], expected["mean_acc"], EXACT)
        return
    scale = 100 if variant == "taskprompter" else 1
    assert_close(figures["miou"], expected["mIoU"], SINGLE if variant == "atrc" else EXACT, scale)
    assert_counts(meter, expected)


@pytest.mark.parametrize(("case", "variant", "expected"), cases("human_parts"))
@pytest.mark.parametrize("ignore_regions_added", [True, False])
def test_parts(case: dict[str, Any], variant: str, expected: dict[str, Any], ignore_regions_added: bool) -> None:
    def prepare(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = arrays["gt_raw"][:, None].float()
        if ignore_regions_added:
            empty = ((label == 0) | (label == IGNORE)).flatten(1).all(1)
            label[empty] = IGNORE
        return scores_of(arrays["pred"], 7), label

    meter = build_task(TaskSpec("parts", 7)).meter(PROTOCOLS[variant])
    figures = scored(meter, case, prepare)
    scale = 100 if variant == "taskprompter" else 1
    assert_close(figures["miou"], expected["mIoU"], SINGLE if variant == "atrc" else EXACT, scale)
    assert_counts(meter, expected)


def assert_counts(meter: Any, expected: dict[str, Any]) -> None:
    if "per_class" in expected:
        np.testing.assert_allclose(np.nan_to_num(meter.class_iou()), expected["per_class"], rtol=EXACT)
    if "tp" in expected:
        table = meter.statistics()["confusion"].sum(0)[:, :-1]
        hits = table.diagonal()
        np.testing.assert_array_equal(hits, expected["tp"])
        np.testing.assert_array_equal(table.sum(0) - hits, expected["fp"])
        np.testing.assert_array_equal(table[:-1].sum(1) - hits, expected["fn"])


@pytest.mark.parametrize(("case", "variant", "expected"), cases("saliency"))
@pytest.mark.parametrize("channels", [1, 2])
def test_saliency(case: dict[str, Any], variant: str, expected: dict[str, Any], channels: int) -> None:
    def prepare(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        odds = arrays["prob"].logit()
        raw = odds[:, None] if channels == 1 else torch.stack([torch.zeros_like(odds), odds], 1)
        return raw, arrays["gt"][:, None].float()

    figures = scored(build_task(TaskSpec("saliency")).meter(PROTOCOLS[variant]), case, prepare)
    tolerance = EXACT if variant.startswith(("mtinet", "astmt")) else SINGLE
    assert_close(figures["maxf"], expected["maxF"], tolerance, 100 if "percent" in variant else 1)
    if "mIoU" in expected:
        assert_close(figures["miou"], expected["mIoU"], tolerance)
    if "atrc" in case["expected"]:
        assert_close(figures["maxf_pooled"], case["expected"]["atrc"]["maxF"], SINGLE)


def on_a_threshold(case: dict[str, Any]) -> bool:
    """The reference took its pooled probabilities from logits, which moves such a tie by one bit."""
    return any(np.isin(ARRAYS[names["prob"]], POOLED_THRESHOLDS.numpy()).any() for names in case["inputs"])


@pytest.mark.parametrize(
    ("case", "mode", "variant"),
    [
        pytest.param(case, mode, variant, id=f"{case['id']}-{mode}")
        for case in CASES
        if case.get("metric") == "saliency"
        for mode, variant in (("double-sigmoid", "invpt_double_sigmoid"), ("pooled", "atrc"))
        if mode == "double-sigmoid" or not on_a_threshold(case)
    ],
)
def test_saliency_counts_at_every_threshold(case: dict[str, Any], mode: Mode, variant: str) -> None:
    meter = FMeasureMeter(lambda raw: raw[:, 0], mode, "ignored")
    scored(meter, case, lambda a: (a["prob"][:, None], a["gt"][:, None].float()))
    expected = case["expected"][variant]
    negative, positive = (meter.statistics()[name].sum(0) for name in ("negative", "positive"))
    hits = meter.called(positive, mode)
    assert hits.tolist() == expected["tp"]
    assert (hits + meter.called(negative, mode)).tolist() == expected["pp"]
    assert positive.sum() == expected["ap"][0]


@pytest.mark.parametrize(("case", "variant", "expected"), cases("normals"))
def test_normals(case: dict[str, Any], variant: str, expected: dict[str, Any]) -> None:
    def prepare(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = arrays["gt_raw"].clone()
        invalid = (label == 0).all(1, keepdim=True).expand_as(label)
        return arrays["pred"], label.masked_fill(invalid, IGNORE)

    figures = scored(build_task(TaskSpec("normals")).meter(PROTOCOLS[variant]), case, prepare)
    merr = figures["merr"]
    if "error" in expected:
        assert merr.value is None
        assert merr.reason == "no valid pixel"
        return
    assert_close(merr, expected["mean"], SINGLE)
    if "n" in expected:
        assert merr.n == expected["n"]
    for limit in ("11.25", "22.5", "30"):
        if limit in expected:
            assert_close(figures[f"under_{limit}"], expected[limit], EXACT, 100)
    if "median" in expected:
        assert_close(figures["median"], expected["median"], SINGLE)
        assert_close(figures["rmse"], expected["rmse"], SINGLE)


@pytest.mark.parametrize(("case", "variant", "expected"), cases("depth"))
def test_depth(case: dict[str, Any], variant: str, expected: dict[str, Any]) -> None:
    def prepare(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = arrays["gt_raw"][:, None].clone()
        label[label == 0] = IGNORE
        return arrays["pred"][:, None], label

    protocol = STRICT_INVPT_DEPTH if variant == "invpt" else PROTOCOLS[variant]
    figures = scored(build_task(TaskSpec("depth")).meter(protocol), case, prepare)
    if "error" in expected:
        assert {figure.reason for figure in figures.values()} == {"no valid pixel"}
        return
    for name in ("rmse", "log_rmse", "abs_rel", "sq_rel"):
        if name in expected:
            assert_close(figures[name], expected[name], SINGLE)
    if "n" in expected:
        assert figures["rmse"].n == expected["n"]


@pytest.mark.parametrize("case", [case for case in CASES if case.get("metric") == "edge_loss"])
def test_boundary_loss(case: dict[str, Any]) -> None:
    arrays = {key: torch.from_numpy(ARRAYS[name]) for key, name in case["inputs"][0].items()}
    loss = build_task(TaskSpec("boundary")).loss(arrays["logit"][:, None], arrays["gt"][:, None])
    assert float(loss) == pytest.approx(case["expected"]["invpt_training_loss"]["loss"][0], rel=SINGLE)


@pytest.mark.parametrize("case", [case for case in CASES if case.get("metric") == "delta_m"])
def test_delta_m(case: dict[str, Any]) -> None:
    def figures(row: dict[str, dict[str, float]]) -> dict[str, Metric]:
        return {
            task: Metric.of(
                # Percent and fractions alike: the unit falls out of the ratio, and a fraction is at most 1.
                value,
                unit="m",
                higher_is_better=task not in ("depth", "normals"),
                n=1,
                protocol=task,
            )
            for task, named in row.items()
            for value in named.values()
        }

    inputs = case["inputs"][0]
    gain = delta_m(figures(inputs["multi"]), figures(inputs["single"]))
    assert gain.value == pytest.approx(100 * case["expected"]["mtinet_fraction"], rel=EXACT)
