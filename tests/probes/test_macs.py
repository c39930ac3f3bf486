"""Our count beside the libraries': where they agree once corrected, and that they do not before."""

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import ClassVar

import pytest
import torch
from mac_cases import ATTENTION, CASES, B
from ptflops import get_model_complexity_info
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones import build_backbone
from harness.compute import Compute
from harness.counting import MacReport, attributed_to, count_macs
from harness.method import Accounting, Budget, Method, MethodOptions, MultiTaskModel, Predictions, Stage
from harness.probes.macs import disagreements, library_counts, measure_macs
from harness.problem import Problem, TaskSpec
from harness.records.costs import CounterFigure, Macs
from harness.registry import load_method, names

DEPTH = Problem((TaskSpec("depth"),), (10, 12))
COUNTERS = ("fvcore", "ptflops", "torch")

FP32 = Compute(torch.device("cpu"))


class Wrapped(MultiTaskModel):
    """Any module as a model of one task."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(DEPTH)
        self.module = module

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        return {"depth": self.module(images)}


def subject(name: str) -> tuple[Wrapped, Tensor, int]:
    case = CASES[name]
    return Wrapped(case.module()).eval(), torch.randn(case.shape), case.macs


@pytest.mark.parametrize("name", CASES)
def test_corrected_libraries_agree_with_the_formula(name: str) -> None:
    model, images, macs = subject(name)
    figures = library_counts(model, images, FP32)
    assert tuple(figure.counter for figure in figures) == COUNTERS
    for figure in figures:
        assert figure.reason is None
        assert figure.macs == pytest.approx(macs, rel=0.002), figure.counter
        assert figure.unseen == {}
        assert figure.version


def test_libraries_count_the_same_when_asked_in_inference_mode() -> None:
    model, _, macs = subject("linear")
    with torch.inference_mode():
        figures = library_counts(model, torch.randn(CASES["linear"].shape), FP32)
    assert [figure.macs for figure in figures] == [macs] * 3


def torch_alone(module: nn.Module, x: Tensor) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() / 2


def fvcore_alone(module: nn.Module, x: Tensor) -> float:
    from fvcore.nn import FlopCountAnalysis  # warns of its own use of torch

    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    return float(FlopCountAnalysis(module, x).total())


def ptflops_alone(module: nn.Module, x: Tensor) -> float:
    macs, _ = get_model_complexity_info(
        module,
        tuple(x.shape[1:]),
        input_constructor=lambda _: x,
        backend="aten",
        as_strings=False,
        print_per_layer_stat=False,
    )
    return float(macs)


PRODUCTS = B * 2 * 10 * 10 * 24
"""Of attention, queries with keys and weights with values."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("alone", "name", "off"),
    [
        (torch_alone, "attention by one operator", -PRODUCTS),
        (torch_alone, "nn.MultiheadAttention", -B * ATTENTION),
        (torch_alone, "nn.TransformerEncoderLayer", -CASES["nn.TransformerEncoderLayer"].macs),
        (fvcore_alone, "attention by one operator", -PRODUCTS),
        (fvcore_alone, "conv, norm, bilinear x2", B * 8 * 8 * 10 * 2 + B * 8 * 16 * 20 * 4),
        (ptflops_alone, "attention by one operator", -PRODUCTS + B * 10 * 4 * 24),
        (ptflops_alone, "conv", B * 8 * 8 * 10),
    ],
)
def test_uncorrected_libraries_do_not(alone: object, name: str, off: int) -> None:
    """The products of attention or all of a fused layer are missed; norms, interpolation or biases are added."""
    model, images, macs = subject(name)
    found = alone(model.module, images)  # type: ignore[operator]
    assert found - macs == off
    assert abs(off) > 0.002 * macs


def test_counting_leaves_no_trace(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    model, images, _ = subject("nn.MultiheadAttention")
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.inference_mode():
        library_counts(model, images, FP32)
        assert torch.is_inference_mode_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not model.training
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not logging.root.manager.disable


class Raising(nn.Module):
    """Raises once it has multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(f"no more\nafter {self.layer(x).shape}")


def test_a_counter_that_fails_gives_null_and_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    model = Wrapped(nn.Sequential(nn.Linear(4, 4), Raising())).eval()
    kept = model.module.register_forward_hook(lambda *_: None)
    for figure in library_counts(model, torch.randn(1, 4), FP32):
        assert figure.macs is None
        assert figure.reason == "ValueError: no more"
    assert capfd.readouterr() == ("", "")
    assert torch.backends.mha.get_fastpath_enabled()
    assert list(model.module._forward_hooks) == [kept.id], "hooks of the library are gone, those of others are not"
    assert not model.module._forward_pre_hooks


def test_a_library_that_cannot_be_imported_gives_null_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, macs = subject("linear")
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    fvcore, ptflops, ours = library_counts(model, images, FP32)
    assert fvcore.macs is None
    assert fvcore.reason is not None
    assert "fvcore" in fvcore.reason
    assert (ptflops.macs, ours.macs) == (macs, macs)


class Mixed(nn.Module):
    """Operators that the libraries lack."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.baddbmm(x.new_zeros(1), x, x.mT).softmax(-1).relu()
        return torch.fft.fft(torch.mv(y[0], x[0, :, 0])).abs().view(-1, 1)


def test_products_a_library_has_no_rule_for_are_listed_and_nothing_else() -> None:
    fvcore, ptflops, ours = library_counts(Wrapped(Mixed()), torch.randn(2, 3, 4), FP32)
    assert fvcore.unseen == {"aten::baddbmm": 1, "aten::mv": 1, "aten::fft_fft": 1}
    assert ptflops.unseen == {"aten::baddbmm": 1, "aten::mv": 1, "aten::_fft_r2c": 1}
    assert ours.unseen == {"aten::mv": 1, "aten::_fft_r2c": 1}


def figure(counter: str, macs: int | None) -> CounterFigure:
    return CounterFigure(counter=counter, version="1", convention="", macs=macs)  # type: ignore[arg-type]


def test_disagreements_name_the_counter_its_figure_and_how_far_it_is_off() -> None:
    figures = [figure("fvcore", 103 * 10**9), figure("ptflops", 102 * 10**9), figure("torch", None)]
    [line] = disagreements(100 * 10**9, figures)
    assert line == "fvcore counts 103.000 GMAC where 100.000 were executed (+3.0%)"
    assert len(disagreements(100 * 10**9, figures, tolerance=0.01)) == 2
    assert "-50.0%" in disagreements(2, [figure("torch", 1)])[0]
    assert disagreements(0, [figure("torch", 0)]) == []
    assert "without bound" in disagreements(0, [figure("torch", 1)])[0]


# Whole models


PASCAL = (
    TaskSpec("semseg", 21),
    TaskSpec("parts", 7),
    TaskSpec("saliency"),
    TaskSpec("normals"),
    TaskSpec("boundary", tolerance=0.0075),
)


def built(name: str, backbone: str, problem: Problem) -> tuple[Method, MultiTaskModel]:
    cls = load_method(name)
    method = cls(cls.Options(), backbone)
    return method, method.build(problem).eval()


NOT_TRACEABLE = {"fvcore": "RuntimeError: The stateless API can't be used with Jitted modules"}
"""Of models that call their modules with other weights (`torch.func.functional_call`): torch cannot trace them."""


@pytest.mark.parametrize("name", names("methods"))
def test_every_method_is_counted_as_the_libraries_count_it(name: str) -> None:
    problem = Problem((*PASCAL, TaskSpec("depth")), (64, 96))
    method, model = built(name, load_method(name).default_backbone["quick"], problem)
    macs = measure_macs(method, model, [torch.rand(1, 3, 64, 96)], FP32)
    [executed] = {macs.executed.mean, macs.executed.p50, macs.executed.p95}
    assert disagreements(int(executed), macs.counters, tolerance=0.02) == []
    failed = {counter.counter: counter.reason for counter in macs.counters if counter.macs is None}
    assert failed in ({}, NOT_TRACEABLE)
    assert sum(macs.per_part.values()) == pytest.approx(executed)
    assert macs.per_part.keys() >= model.parts().keys()
    assert set(macs.per_task) == set(problem.names)
    assert max(macs.per_task.values()) <= executed <= sum(macs.per_task.values())
    assert macs.elementwise_outputs > 0


def test_a_vit_b_at_512_has_the_published_size_and_macs() -> None:
    """Of the sharing paper's encoder: 85 645 824 trained parameters, 107.0 GMAC.

    Its position embeddings are fixed and none of these, and it ends without a norm. Ours are learned, one for every
    patch and one for the class token (the paper's encoder has a global token without one), and a norm follows.
    """
    width, patches = 768, (512 // 16) ** 2
    tokens = patches + 1
    encoder = build_backbone("vit-b16", (512, 512)).eval()
    block = 4 * width + (width * 3 * width + 3 * width) + (width * width + width)
    block += (width * 4 * width + 4 * width) + (4 * width * width + width)
    assert block == 7_087_872
    published = 12 * block + (3 * 16 * 16 * width + width) + width
    assert published == 85_645_824
    assert sum(parameter.numel() for parameter in encoder.parameters()) == published + tokens * width + 2 * width

    with torch.inference_mode():
        count = count_macs(lambda: encoder(torch.zeros(1, 3, 512, 512)))
    blocks = 12 * (12 * tokens * width**2 + 2 * tokens**2 * width)
    assert count.macs == blocks + patches * (3 * 16 * 16) * width
    assert count.macs == pytest.approx(107.0e9, rel=0.005)


@pytest.mark.parametrize(("name", "gigamacs"), [("single-task", 580.0), ("multi-task", 151.8)])
def test_five_tasks_on_a_vit_b_have_the_macs_of_the_specification(name: str, gigamacs: float) -> None:
    """Counted from shapes alone; of the tasks of PASCAL-Context, three have wide heads and two narrow ones."""
    with torch.device("meta"):
        _, model = built(name, "vit-b16", Problem(PASCAL, (512, 512)))
        images = torch.empty(1, 3, 512, 512)
    count = count_macs(lambda: model(images), model.parts())
    assert count.macs == pytest.approx(gigamacs * 1e9, rel=0.005)
    assert "other" not in count.per_part


# What is measured of a method


class Gathering(MultiTaskModel):
    """One linear layer on the pixels whose first channel is positive, and a second for one task."""

    def __init__(self) -> None:
        super().__init__(Problem((TaskSpec("depth"), TaskSpec("normals")), (4, 5)))
        self.shared = nn.Linear(3, 8)
        self.normals = nn.Linear(8, 3)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        pixels = images.permute(0, 2, 3, 1)
        rows = pixels[pixels[..., 0] > 0]
        features = self.shared(rows)
        predictions = {}
        if tasks is None or "depth" in tasks:
            predictions["depth"] = features[:, :1]
        if tasks is None or "normals" in tasks:
            with attributed_to("named"):
                predictions["normals"] = features @ self.normals.weight.T
        return predictions


class GathersAccounting(Accounting[Method]):
    data_dependent: ClassVar[bool] = True

    def macs(self, model: MultiTaskModel, images: Tensor) -> MacReport:
        executed = count_macs(lambda: model(images), model.parts())
        return MacReport(executed, dense=20 * 48, ideal=executed.macs // 2)


class Gathers(Method):
    name: ClassVar[str] = "gathers"
    summary: ClassVar[str] = "computes some rows"
    Accounting = GathersAccounting

    def build(self, problem: Problem) -> MultiTaskModel:
        return Gathering()

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        return []


class GathersOnce(Gathers):
    class Accounting(GathersAccounting):
        data_dependent: ClassVar[bool] = False


def with_positive(pixels: Sequence[int]) -> Iterable[Tensor]:
    for positive in pixels:
        image = -torch.ones(1, 3, 4, 5)
        image[0, 0].view(-1)[:positive] = 1
        yield image


def measured(method: type[Method]) -> Macs:
    return measure_macs(method(MethodOptions(), "none"), Gathering(), with_positive([2, 4, 9]), FP32)


def test_a_method_that_depends_on_the_image_is_spread_over_the_images() -> None:
    macs = measured(Gathers)
    assert (macs.executed.mean, macs.executed.p50, macs.executed.n) == (48 * 5, 48 * 4, 3)
    assert macs.executed.p95 == pytest.approx(48 * 8.5)
    assert (macs.dense.mean, macs.dense.p95) == (960, 960)
    assert macs.ideal is not None
    assert macs.ideal.mean == 24 * 5
    assert macs.simulated is None
    assert macs.per_part == {"shared": 24 * 5, "normals": 0, "named": 24 * 5}
    assert macs.per_task == {"depth": 24 * 5, "normals": 48 * 5}
    assert macs.elementwise_outputs == 20, "the comparison that picks the pixels"
    assert [counter.macs for counter in macs.counters] == [48 * 2] * 3, "the libraries count the first image"


def test_tasks_of_other_methods_are_counted_on_the_first_image() -> None:
    assert measured(GathersOnce).per_task == {"depth": 24 * 2, "normals": 48 * 2}


def test_images_are_needed() -> None:
    with pytest.raises(ValueError, match="no image"):
        measure_macs(Gathers(MethodOptions(), "none"), Gathering(), [], FP32)
