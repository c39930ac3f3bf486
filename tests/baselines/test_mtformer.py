"""MTFormer: the published networks, other sets of tasks, checkpoints, training."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.windows import offsets
from harness.baselines.mtformer import MTFormer
from harness.baselines.mtformer.method import weigh_by_uncertainty
from harness.baselines.mtformer.model import MTFormerNet
from harness.baselines.mtformer.stacks import CrossTaskBlock
from harness.compute import Compute
from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import load_published
from harness.probes import counters
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

SPECS = {
    "semseg": TaskSpec("semseg", 21),
    "parts": TaskSpec("parts", 7),
    "saliency": TaskSpec("saliency"),
    "normals": TaskSpec("normals"),
    "depth": TaskSpec("depth"),
    "boundary": TaskSpec("boundary", tolerance=0.011),
}
NYUD = (TaskSpec("semseg", 40), SPECS["depth"])
PASCAL = (SPECS["semseg"], SPECS["parts"], SPECS["saliency"])
SIZE = (32, 48)
SETS = [("depth",), ("normals", "semseg"), ("depth", "normals", "boundary", "semseg"), tuple(SPECS)]


def method(backbone: str = "swin-micro") -> MTFormer:
    return MTFormer(MTFormer.Options(), backbone)


def small(tasks: Sequence[str] | tuple[TaskSpec, ...], size: tuple[int, int] = SIZE) -> MTFormerNet:
    specs = tuple(SPECS[task] if isinstance(task, str) else task for task in tasks)
    torch.manual_seed(0)
    return method().build(Problem(specs, size)).eval()


@pytest.mark.parametrize(
    ("backbone", "tasks", "size", "parameters", "keys", "giga_macs"),
    [
        ("swin-s", NYUD, (480, 640), 64.129, 603, 125.6),
        ("swin-s", NYUD, (448, 576), 64.129, 603, 103.4),
        ("swin-s", PASCAL, (512, 512), 74.264, 739, 164.4),
        ("swin-t", NYUD, (448, 576), 42.811, 435, 80.3),
        ("swin-b", NYUD, (448, 576), 102.150, 603, 139.9),
    ],
)
def test_size_and_cost_are_the_references(
    backbone: str, tasks: tuple[TaskSpec, ...], size: tuple[int, int], parameters: float, keys: int, giga_macs: float
) -> None:
    """Figures measured on the authors' code."""
    with torch.device("meta"):
        model = method(backbone).build(Problem(tasks, size)).eval()
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(parameters, abs=5e-4)
    assert len(model.state_dict()) == keys
    with torch.inference_mode():
        count = count_macs(lambda: model(torch.empty(1, 3, *size, device="meta")))
    assert not count.unsupported
    assert count.macs / 1e9 == pytest.approx(giga_macs, rel=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "size", "giga_macs"), [(NYUD, (480, 640), 126.1), (PASCAL, (512, 512), 164.8)])
def test_fvcores_count_is_the_references(
    tasks: tuple[TaskSpec, ...], size: tuple[int, int], giga_macs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_LIBRARIES", [each for each in counters._LIBRARIES if each.counter == "fvcore"])
    model = method("swin-s").build(Problem(tasks, size)).eval()
    [figure] = counters.library_counts(model, torch.randn(1, 3, *size), Compute(torch.device("cpu")))
    assert figure.macs is not None
    assert figure.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)


@pytest.mark.parametrize("tasks", [("semseg", "depth"), ("semseg", "parts", "saliency"), *SETS])
def test_unused_weights_are_those_that_no_prediction_depends_on(tasks: tuple[str, ...]) -> None:
    model = small(tasks)
    sum(map_.sum() for map_ in model(torch.randn(2, 3, *SIZE)).values()).backward()  # type: ignore[union-attr]
    idle = {name for name, value in model.named_parameters() if value.grad is None}
    assert idle == {name for name, _ in model.named_parameters() if name.startswith((*model.unused, "log_var_list"))}


def test_the_published_sets_have_the_published_names_and_scale() -> None:
    for tasks in itertools.permutations(("semseg", "depth")):
        model = small(tasks)
        names = dict(model.named_children())
        assert {"transformer4", "transformer5", "transformer6", "transformer7", "contrast12"} < names.keys()
        assert names["contrast12"].memory_l.shape == (795, 128)
        assert model.transformer6.layers[0].blocks[0].attn1.scale == (2 * 48 / 4) ** -0.5
        assert model.order == ("semseg", "depth")
    for tasks in itertools.permutations(("semseg", "parts", "saliency")):
        model = small(tasks)
        names = dict(model.named_children())
        assert {"transformer4_3", "transformer5_1", "contrast12", "contrast13", "contrast23", "mapping3"} < names.keys()
        assert names["contrast23"].memory_ab.shape == (4998, 128)
        assert model.transformer5_1.layers[0].blocks[0].attn1.scale == (48 / 4) ** -0.5
        assert model.order == ("semseg", "parts", "saliency")


@pytest.mark.parametrize("tasks", SETS)
def test_other_sets_are_named_as_the_published_three_and_have_no_contrastive_layers(tasks: tuple[str, ...]) -> None:
    model = small(tasks)
    names = [name for name, _ in model.named_children()]
    numbers = range(1, len(tasks) + 1)
    assert {f"{kind}{n}" for kind in ("transformer4_", "transformer5_", "project") for n in numbers} < set(names)
    assert not any(name.startswith(("mapping", "contrast")) for name in names)
    for cross in (child for name, child in model.named_children() if name.startswith("transformer5_")):
        assert cross.layers[0].blocks[0].attn1.scale == (48 / 4) ** -0.5  # type: ignore[index,union-attr]


def test_the_order_of_the_tasks_in_a_problem_changes_nothing() -> None:
    one = small(("semseg", "parts", "saliency", "normals", "depth", "boundary"))
    other = small(("boundary", "depth", "semseg", "normals", "saliency", "parts"))
    assert one.order == other.order == ("semseg", "parts", "saliency", "depth", "normals", "boundary")
    other.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        ours, theirs = one(images), other(images)
    assert list(theirs) == ["boundary", "depth", "semseg", "normals", "saliency", "parts"]
    for task, map_ in ours.items():
        assert torch.equal(map_, theirs[task])


def test_saliency_has_one_channel_and_depth_is_never_negative() -> None:
    model = small(("saliency", "depth"))
    nn.init.zeros_(model.project2[4].bias)
    with torch.inference_mode():
        maps = model(torch.randn(1, 3, *SIZE))
    assert maps["saliency"].shape == (1, 1, *SIZE)
    assert maps["depth"].min() == 0


def test_depth_starts_from_a_typical_distance() -> None:
    with torch.inference_mode():
        depth = small(("depth",))(torch.randn(1, 3, *SIZE))["depth"]
    assert depth.mean() == pytest.approx(2.5, abs=0.5)


def straightforward(block: CrossTaskBlock, own: Tensor, others: list[Tensor], side: int = 7) -> Tensor:
    """The block on maps of one unshifted window each, task by task, with the attention written out."""
    c = own.shape[-1]
    heads = block.attn1.heads
    normed = [block.norm1(map_).view(-1, side**2, c) for map_ in (own, *others)]

    def by_head(x: Tensor) -> Tensor:
        return x.view(-1, side**2, heads, c // heads).transpose(1, 2)

    bias = block.attn1.relative_position_bias_table[offsets(side)].permute(2, 0, 1)
    value = by_head(block.attn1.qkv2(normed[0]))
    attended = []
    for pattern in normed:
        query, key = (by_head(x) for x in block.attn1.qkv(pattern).split(c, dim=-1))
        weights = (block.attn1.scale * query @ key.transpose(-2, -1) + bias).softmax(-1)
        attended.append(block.attn1.proj((weights @ value).transpose(1, 2).flatten(2)))
    fused = [getattr(block, f"mlp3{number}")(map_) for number, map_ in enumerate(attended, 1)]
    own = own + (attended[0] + block.mlp3(torch.cat(fused, -1))).view(own.shape)
    return own + block.mlp2(block.norm2(own))


@pytest.mark.parametrize(("tasks", "widths"), [(1, [12]), (2, [12, 12]), (3, [12, 6, 6]), (5, [12, 3, 3, 3, 3])])
def test_a_block_across_tasks_is_the_formula(tasks: int, widths: list[int]) -> None:
    torch.manual_seed(0)
    block = CrossTaskBlock(12, tasks, heads=4, scale=0.3, shifted=False)
    own, *others = torch.randn(tasks, 2, 7, 7, 12).unbind()
    assert [getattr(block, f"mlp3{n}").fc2.out_features for n in range(1, tasks + 1)] == widths
    assert block.mlp3.fc1.out_features == 12 * tasks
    with torch.inference_mode():
        torch.testing.assert_close(block(own, others), straightforward(block, own, others))


def test_maps_are_enlarged_corner_on_corner_before_they_fit_the_image() -> None:
    model = small(("semseg",), (64, 96))
    seen: list[Tensor] = []
    model.project1[3].register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        prediction = model(torch.randn(1, 3, 64, 96))["semseg"]
    twice = F.interpolate(seen[0], size=(16, 24), mode="bilinear", align_corners=True)
    torch.testing.assert_close(prediction, F.interpolate(twice, size=(64, 96), mode="bilinear", align_corners=False))


def save_as_the_authors(model: MTFormerNet, path: Path) -> None:
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"optimizer": {"state": {}}, "model": state, "epoch": 99, "best_result": {}}, path)


@pytest.mark.parametrize("tasks", [("semseg", "depth"), ("semseg", "parts", "saliency")])
def test_a_checkpoint_of_the_authors_code_loads(tasks: tuple[str, ...], tmp_path: Path) -> None:
    donor = small(tasks)
    for value in donor.state_dict().values():
        if value.is_floating_point():
            value.add_(0.01 * torch.randn(value.shape))
    save_as_the_authors(donor, tmp_path / "checkpoint.pth.tar")
    loaded, notes = load_published(method(), donor.problem, WeightFile(tmp_path / "checkpoint.pth.tar"))
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, donor.state_dict()[key]), key
    assert len(notes) == 2
    assert "optimizer" in notes[0]
    assert "never used" in notes[1]


def test_a_checkpoint_may_lack_memory_banks(tmp_path: Path) -> None:
    donor = small(("semseg", "depth"))
    state = {f"module.{key}": value for key, value in donor.state_dict().items() if not key.startswith("contrast")}
    torch.save(state, tmp_path / "c.pth")
    _, notes = load_published(method(), donor.problem, WeightFile(tmp_path / "c.pth"))
    assert "checkpoint c.pth: has no memory banks; no prediction depends on them" in notes


def test_memory_banks_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    donor = small(("semseg", "depth"))
    donor.contrast12.memory_l = torch.ones(8, 128)
    del donor.contrast12.memory_ab
    save_as_the_authors(donor, tmp_path / "c.pth")
    loaded, notes = load_published(method(), donor.problem, WeightFile(tmp_path / "c.pth"))
    assert any("memory banks that do not fit are left out" in note for note in notes)
    assert loaded.contrast12.memory_l.shape == (795, 128)
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(images)["semseg"], donor(images)["semseg"])


@pytest.mark.parametrize("tasks", [("semseg", "parts", "saliency"), ("semseg", "normals"), ("semseg",)])
def test_a_checkpoint_of_other_tasks_is_refused_in_one_line(tasks: tuple[str, ...], tmp_path: Path) -> None:
    save_as_the_authors(small(("semseg", "depth")), tmp_path / "c.pth")
    with pytest.raises(UsageError, match="does not fit mtformer on swin-micro for semseg") as caught:
        load_published(method(), small(tasks).problem, WeightFile(tmp_path / "c.pth"))
    assert "\n" not in str(caught.value)


def test_losses_are_weighed_by_learned_uncertainties() -> None:
    model = small(("depth", "saliency", "semseg"))
    with torch.no_grad():
        model.log_var_list.copy_(torch.tensor([0.0, 1.0, -1.0]))  # semseg, saliency, depth
    terms = weigh_by_uncertainty(model, {"depth": torch.tensor(2.0), "saliency": torch.tensor(0.5)})
    expected = {"depth": 10 * 2 * torch.tensor(1.0).exp() - 1, "saliency": 300 * 0.5 * torch.tensor(-1.0).exp() + 1}
    assert terms.keys() == expected.keys()
    for task, value in expected.items():
        torch.testing.assert_close(terms[task], value)
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert model.log_var_list.grad is not None
    assert model.log_var_list.grad[0] == 0


@pytest.mark.parametrize(("tasks", "lr"), [(NYUD, 5e-5), (PASCAL, 2.5e-5)])
def test_full_training_is_the_published_recipe(tasks: tuple[TaskSpec, ...], lr: float) -> None:
    [stage] = method("swin-s").stages(Problem(tasks, SIZE), "full")
    stage = stage.sized(795)
    assert (stage.iterations, stage.batch_size, stage.schedule.steps) == (100 * 198, 4, 100)
    assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("adamw", lr, 1e-4)
    assert stage.weigh is weigh_by_uncertainty


def test_published_encoders_drop_paths_in_training() -> None:
    with torch.device("meta"):
        published = method("swin-t").build(Problem(NYUD, SIZE))
    rates = [getattr(layer, "drop_prob", 0.0) for layer in published.modules()]
    assert max(rates) == pytest.approx(0.3)
    assert not any(getattr(layer, "drop_prob", 0.0) for layer in small(("semseg", "depth")).modules())
