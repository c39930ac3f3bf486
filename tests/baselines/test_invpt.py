"""InvPT: figures of the reference, and what must hold whatever the weights."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import formulas
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from harness.baselines.common.tasks import key_of
from harness.baselines.invpt.model import InvPTModel
from harness.baselines.invpt.pyramid import stage_sizes
from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import Method, load_published
from harness.problem import Problem, TaskSpec
from harness.registry import load_method
from harness.weights import WeightFile

NYUD = Problem((TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (448, 576))
PASCAL = Problem(
    (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary")),
    (512, 512),
)
SMALL = Problem((TaskSpec("depth"), TaskSpec("semseg", 5), TaskSpec("parts", 7)), (32, 48))


def method(backbone: str = "vit-micro") -> Method:
    cls = load_method("invpt")
    return cls(cls.Options(), backbone)


def build(problem: Problem = SMALL, backbone: str = "vit-micro") -> InvPTModel:
    torch.manual_seed(0)
    model = method(backbone).build(problem)
    assert isinstance(model, InvPTModel)
    return model


def distinct(model: InvPTModel) -> InvPTModel:
    """Give every layer weights that keep the variance of what it reads, and norms none that are ones and zeros."""
    torch.manual_seed(1)
    for value in model.state_dict().values():
        if value.is_floating_point():
            spread = 0.1 if value.ndim < 2 else max(1, value[0].numel()) ** -0.5
            value.copy_((value.abs() if value.ndim < 2 else 0) + spread * torch.randn_like(value))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            layer.running_var.abs_()
    return model.eval()


def unused(model: InvPTModel) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if name.startswith(model.unused)}


def dead_convolution(channels: int, problem: Problem) -> int:
    """MACs of ``scale_embed.2``, 3x3 from the encoder's width to 576 at stride 16, which the reference runs."""
    height, width = problem.input_size
    return channels * 576 * 9 * (height // 16) * (width // 16)


@pytest.mark.parametrize(
    ("backbone", "channels", "problem", "parameters", "keys", "giga_macs"),
    [
        ("vit-l16", 1024, NYUD, 402.093, 654, 601.9),
        ("vit-l16", 1024, PASCAL, 422.930, 727, 672.4),
        ("vit-b16", 768, NYUD, 160.824, 510, 343.7),
        ("vit-b16", 768, PASCAL, 176.348, 583, 408.3),
    ],
)
def test_parameters_keys_and_macs_are_the_references(
    backbone: str, channels: int, problem: Problem, parameters: float, keys: int, giga_macs: float
) -> None:
    """Figures were measured on the reference; its MACs hold a convolution that nothing reads and ours leaves out."""
    with torch.device("meta"):
        model = build(problem, backbone).eval()
        images = torch.empty(1, 3, *problem.input_size)
    with torch.inference_mode():
        count = count_macs(lambda: model(images), model.parts())
    assert not count.unsupported
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert len(model.state_dict()) == keys
    assert (count.macs + dead_convolution(channels, problem)) / 1e9 == pytest.approx(giga_macs, rel=0.0005)
    assert set(count.per_part) == set(model.parts()), "everything is counted for a part"
    height, width = problem.input_size
    for task in problem.names:
        assert count.per_part[f"projection/{task}"] == 9 * 576**2 * (height // 4) * (width // 4)
        kernels = 9 * (channels * channels + channels * 512)
        assert count.per_part[f"preliminary/{task}"] == kernels * (height // 32) * (width // 32)


@pytest.mark.parametrize("problem", [NYUD, PASCAL], ids=["nyud", "pascal"])
def test_on_swin_all_but_encoder_and_skips_is_what_it_is_on_vit(problem: Problem) -> None:
    """Swin-B's last map has 1024 channels, as ViT-L's."""
    with torch.device("meta"):
        swin, vit = (
            {key: value.shape for key, value in build(problem, backbone).state_dict().items()}
            for backbone in ("swin-b", "vit-l16")
        )
    own = ("backbone.", "multi_task_decoder.scale_embed.")
    assert {key for key in swin.keys() ^ vit.keys() if not key.startswith(own)} == set()
    assert all(shape == vit[key] for key, shape in swin.items() if not key.startswith(own))
    embedded = {key: tuple(shape) for key, shape in swin.items() if key.startswith(own[1]) and key.endswith("weight")}
    assert embedded == {f"{own[1]}0.weight": (144, 256, 3, 3), f"{own[1]}1.weight": (288, 512, 3, 3)}


@pytest.mark.slow
def test_fvcore_counts_what_it_counts_on_the_reference() -> None:
    model = build(NYUD, "vit-b16").eval()
    for block in model.get_submodule("backbone.blocks").children():
        block.attn.fused_attn = False  # type: ignore[union-attr]  # fvcore knows no fused attention
    outputs = _AsTuple(model)
    analysis = FlopCountAnalysis(outputs, torch.randn(1, 3, *NYUD.input_size)).unsupported_ops_warnings(False)
    with torch.inference_mode():
        assert analysis.total() / 1e9 == pytest.approx(340.5, rel=0.0005)


class _AsTuple(nn.Module):
    def __init__(self, model: InvPTModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model(images).values())


def test_the_order_of_the_tasks_in_a_problem_changes_nothing() -> None:
    model = distinct(build())
    other = build(Problem(SMALL.tasks[::-1], SMALL.input_size)).eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        one, two = model(images), other(images)
    assert list(two) == list(reversed(one))
    for task, map_ in one.items():
        assert torch.equal(map_, two[task])


def test_images_of_a_batch_do_not_see_each_other() -> None:
    model = distinct(build())
    images = torch.randn(3, 3, *SMALL.input_size)
    with torch.inference_mode():
        together = model.forward_train(images)
        alone = [model.forward_train(image[None]) for image in images]
    for task in SMALL.names:
        for index, single in enumerate(alone):
            torch.testing.assert_close(together.predictions[task][index], single.predictions[task][0])
            torch.testing.assert_close(together.intermediate[0][task][index], single.intermediate[0][task][0])


def test_every_task_sees_every_other() -> None:
    model = distinct(build())
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        before = model(images)
        model.multi_task_decoder.intermediate_head["human_parts"].bias.add_(1)  # type: ignore[union-attr, operator]
        after = model(images)
    for task in SMALL.names:
        assert not torch.allclose(before[task], after[task], atol=1e-4)


def test_evaluation_gives_the_final_predictions_of_training() -> None:
    model = distinct(build())
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        output = model.forward_train(images, ["depth"])
        assert torch.equal(output.predictions["depth"], model(images)["depth"])
    [intermediate] = output.intermediate
    assert list(intermediate) == ["depth"]
    assert intermediate["depth"].shape == output.predictions["depth"].shape


@pytest.mark.parametrize("backbone", ["vit-micro", "swin-micro"])
def test_unused_weights_change_nothing_and_learn_nothing(backbone: str) -> None:
    model = distinct(build(SMALL, backbone))
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        before = model(images)
        for value in unused(model).values():
            value.fill_(float("nan"))
        after = model(images)
    for task, map_ in before.items():
        assert torch.equal(map_, after[task])

    output = model.forward_train(images)
    sum(
        map_.square().mean() for maps in (output.predictions, *output.intermediate) for map_ in maps.values()
    ).backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == set(unused(model))


@pytest.mark.parametrize(("problem", "millions"), [(NYUD, 6.64), (PASCAL, 6.97)], ids=["nyud", "pascal"])
def test_unused_weights_are_as_many_as_in_published_checkpoints(problem: Problem, millions: float) -> None:
    with torch.device("meta"):
        model = build(problem, "vit-l16")
    assert sum(value.numel() for value in unused(model).values()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("vit-micro", (112, 144)),
        ("vit-micro", (128, 128)),
        ("vit-micro", (8, 8)),
        ("vit-micro", (40, 56)),
        ("vit-t16", (112, 144)),
        ("vit-t16", (64, 80)),
        ("swin-micro", (112, 144)),
        ("swin-micro", (128, 128)),
        ("swin-micro", (75, 101)),
    ],
)
def test_any_grid_will_do(backbone: str, size: tuple[int, int]) -> None:
    problem = Problem(SMALL.tasks, size)
    model = build(problem, backbone).eval()
    with torch.inference_mode():
        output = model.forward_train(torch.randn(1, 3, *size))
    for maps in (output.predictions, *output.intermediate):
        for task in problem:
            assert maps[task.name].shape == (1, task.channels, *size)
            assert maps[task.name].isfinite().all()


def test_stages_are_halved_and_halved_rounding_up() -> None:
    assert stage_sizes((56, 72)) == [(14, 18), (28, 36), (56, 72)], "NYUD-v2 as published"
    assert stage_sizes((14, 18)) == [(4, 5), (7, 9), (14, 18)]
    assert stage_sizes((1, 3)) == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("backbone", ["vit-t16", "swin-t"])
def test_blocks_are_left_out_in_training_alone(backbone: str) -> None:
    problem = Problem(SMALL.tasks, (64, 64))
    model = build(problem, backbone)
    wanted = "drop_path1" if backbone == "vit-t16" else "drop_path"
    layers = [layer for name, layer in model.backbone.named_modules() if name.rpartition(".")[2] == wanted]
    assert [layer.drop_prob for layer in layers] == pytest.approx(torch.linspace(0, 0.15, 12).tolist())
    images = torch.randn(8, 3, 64, 64)
    with torch.inference_mode():
        last = [model.eval().features(images)[2] for _ in range(2)]
        assert torch.equal(*last)
        assert not torch.allclose(model.train().features(images)[2], last[0], atol=1e-5)


def wrapped(model: nn.Module, path: Path) -> Path:
    """Save as the reference saves: in parallel mode, beside the optimiser's state."""
    state = OrderedDict((f"module.{key}", value) for key, value in model.state_dict().items())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-5).state_dict()
    torch.save(
        {"optimizer": optimizer, "scheduler": {"base_lrs": [2e-5]}, "model": state, "epoch": 7, "iter_count": 40_001},
        path,
    )
    return path


def test_a_checkpoint_as_the_reference_saves_it_is_loaded(tmp_path: Path) -> None:
    model = distinct(build())
    path = wrapped(model, tmp_path / "checkpoint.pth.tar")
    loaded, notes = load_published(method(), SMALL, WeightFile(path))
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        for task, map_ in loaded.eval()(images).items():
            assert torch.equal(map_, model(images)[task])
    assert notes == (
        "checkpoint checkpoint.pth.tar: ignored beside model: epoch, iter_count, optimizer, scheduler",
        "checkpoint checkpoint.pth.tar: 0.07 M of its parameters are never used, and kept",
    )


@pytest.mark.parametrize("tasks", [PASCAL.tasks, PASCAL.tasks[:1], (*PASCAL.tasks, TaskSpec("depth"))], ids=len)
def test_a_checkpoint_in_the_references_shapes_is_loaded_for_any_number_of_tasks(
    tasks: tuple[TaskSpec, ...], tmp_path: Path
) -> None:
    """The shapes are the formulas', not our network's; five tasks are those of PASCAL-Context."""
    order = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
    outputs = {key_of(task.name): task.channels for task in sorted(tasks, key=lambda task: order.index(task.name))}
    encoder = formulas.vit(192, 12, tokens=4 * 6)
    shapes = formulas.invpt_on_vit(outputs, encoder, 192, 48, 64)
    state = {f"module.{key}": torch.full(shape, 0.01) for key, shape in shapes.items()}
    counters = [key.replace("running_mean", "num_batches_tracked") for key in state if key.endswith("running_mean")]
    state |= {key: torch.tensor(40_000) for key in counters}
    torch.save({"optimizer": {}, "scheduler": {}, "model": state, "epoch": 7, "iter_count": 40_001}, tmp_path / "c.pth")
    model, notes = load_published(method("vit-t16"), Problem(tasks, (64, 96)), WeightFile(tmp_path / "c.pth"))
    assert all(value.eq(0.01).all() for value in model.parameters())
    assert notes[0] == "checkpoint c.pth: ignored beside model: epoch, iter_count, optimizer, scheduler"


OTHERS: dict[str, Callable[[], Problem]] = {
    "fewer tasks": lambda: SMALL.only(["depth", "semseg"]),
    "more tasks": lambda: Problem((*SMALL.tasks, TaskSpec("normals")), SMALL.input_size),
    "other classes": lambda: Problem((TaskSpec("depth"), TaskSpec("semseg", 6), TaskSpec("parts", 7)), (32, 48)),
    "another size": lambda: Problem(SMALL.tasks, (48, 48)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_for_another_problem_is_refused_in_one_line(other: str, tmp_path: Path) -> None:
    path = wrapped(build(), tmp_path / "checkpoint.pth.tar")
    with pytest.raises(UsageError, match=r"checkpoint\.pth\.tar does not fit invpt on vit-micro for depth") as caught:
        load_published(method(), OTHERS[other](), WeightFile(path))
    assert "\n" not in str(caught.value)


def test_notes_on_the_encoders_weights_are_kept(tmp_path: Path) -> None:
    state = build().get_submodule("backbone").state_dict()
    torch.save(state | {"head.weight": torch.zeros(10, 96)}, tmp_path / "vit.pth")
    cls = load_method("invpt")
    started = cls(cls.Options(), "vit-micro", WeightFile(tmp_path / "vit.pth")).build(SMALL)
    assert started.notes == ("weights vit.pth: ignored, as no part of the encoder: head",)
