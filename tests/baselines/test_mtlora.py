"""MTLoRA and MTLoRA+: figures of the reference, adapted layers by hand, what is trained, checkpoints."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import formulas
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones import build_backbone
from harness.backbones.shapes import SWINS
from harness.backbones.swin_layers import SwinBlock
from harness.backbones.windows import offsets
from harness.baselines.common.tasks import channels_of, key_of
from harness.baselines.mtlora import MTLoRA
from harness.baselines.mtlora.adapted import AdaptedLinear, Ranks
from harness.baselines.mtlora.model import MTLoRANet
from harness.baselines.mtlora.swin import AdaptedBlock
from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import load_published
from harness.probes.memory import count_parameters
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
PASCAL = Problem(tuple(SPECS.values())[:4], (448, 448))
NYUD = Problem((TaskSpec("semseg", 40), *(SPECS[name] for name in ("normals", "boundary", "depth"))), (448, 448))
SIZE = (64, 96)
RANKS = Ranks(shared=3, task=2, shared_scale=0.5, task_scale=0.25, dropout=0.05)


def method(backbone: str = "swin-micro", **options: object) -> MTLoRA:
    return MTLoRA(MTLoRA.Options.model_validate(options), backbone)


def small(tasks: Sequence[str] = ("semseg", "depth"), size: tuple[int, int] = SIZE, **options: object) -> MTLoRANet:
    """Build a small network whose factors are not zero."""
    torch.manual_seed(0)
    model = method(**options).build(Problem(tuple(SPECS[task] for task in tasks), size)).eval()
    for name, value in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.1)
    return model


@pytest.mark.parametrize(
    ("problem", "plus", "parameters", "trainable", "keys", "giga_macs"),
    [
        (PASCAL, False, 34.263, 8.344634, 431, 31.0),
        (PASCAL, True, 34.521, 7.054394, 437, 32.0),
        (NYUD, False, 34.277, 8.358687, 431, 31.1),
    ],
    ids=["pascal", "pascal-plus", "nyud"],
)
def test_parameters_keys_and_macs_are_the_references(
    problem: Problem, plus: bool, parameters: float, trainable: float, keys: int, giga_macs: float
) -> None:
    """In training, products of factors are taken apart from the weights, as the reference takes them always."""
    subject = method("swin-t", plus=plus)
    with torch.device("meta"):
        model = subject.build(problem)
        images = torch.empty(1, 3, *problem.input_size)
    with torch.inference_mode():
        apart = count_macs(lambda: model.train()(images), model.parts())
        merged = count_macs(lambda: model.eval()(images), model.parts())
    assert set(apart.per_part) == set(model.parts())
    counts = count_parameters(model, subject)
    assert counts.total / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert counts.trainable == round(trainable * 1e6)
    assert len(model.state_dict()) == keys
    decoders = sum(value.numel() for name, value in model.named_parameters() if not name.startswith("backbone."))
    assert decoders == {PASCAL: 1_946_624, NYUD: 1_960_677}[problem]
    # The last shared product, which nothing reads, is run by the reference: 64 (in + out) on 14 x 14 cells
    assert (apart.macs + 64 * (3072 + 768) * 14**2) / 1e9 == pytest.approx(giga_macs, abs=0.06)
    assert merged.macs < 0.9 * apart.macs


def by_hand(layer: AdaptedLinear, x: Tensor, task: str | None = None, own: Tensor | None = None) -> Tensor:
    frozen = x @ layer.linear.weight.T + layer.linear.bias
    if task is None:
        return frozen + 0.5 * (x @ layer.lora_shared_A.T) @ layer.lora_shared_B.T
    features = x if own is None else own
    return frozen + 0.25 * (features @ layer.lora_tasks_A[task].T) @ layer.lora_tasks_B[task].T


def layer_with_factors() -> AdaptedLinear:
    torch.manual_seed(0)
    layer = AdaptedLinear(nn.Linear(8, 12), RANKS, ("a", "b")).eval()
    for name, value in layer.named_parameters():
        if name.startswith("lora_"):
            nn.init.normal_(value)
    return layer


@pytest.mark.parametrize("vectors", [1, 40])
def test_an_adapted_layer_is_the_formula(vectors: int) -> None:
    """With few vectors its products are taken apart, with many they are merged into the weight."""
    layer = layer_with_factors()
    x, own = torch.randn(2, vectors, 8)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), by_hand(layer, x))
        shared, outputs = layer.for_tasks(x, {"a": x, "b": own})
        torch.testing.assert_close(shared, by_hand(layer, x))
        torch.testing.assert_close(outputs["a"], by_hand(layer, x, "a"))
        torch.testing.assert_close(outputs["b"], by_hand(layer, x, "b", own))


def test_factors_begin_as_nothing_and_see_dropout_in_training() -> None:
    torch.manual_seed(0)
    layer = AdaptedLinear(nn.Linear(8, 12), replace(RANKS, dropout=0.5), ("a",))
    x = torch.randn(40, 8)
    assert torch.equal(layer(x), layer.linear(x))
    nn.init.normal_(layer.lora_shared_B)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def straightforward(block: AdaptedBlock, map_: Tensor, task: str | None) -> Tensor:
    """Run a block on maps [B, 7, 7, C] of one unshifted window each, for all tasks or for one."""
    c, heads = map_.shape[-1], block.attn.heads
    attention, mlp = block.attn, block.mlp
    tokens = map_.flatten(1, 2)
    split = by_hand(attention.qkv, block.norm1(tokens)).unflatten(-1, (3, heads, c // heads)).permute(2, 0, 3, 1, 4)
    bias = attention.relative_position_bias_table[offsets(7)].permute(2, 0, 1)
    weights = (split[0] @ split[1].transpose(-2, -1) * (c // heads) ** -0.5 + bias).softmax(-1)
    mixed = (weights @ split[2]).transpose(1, 2).flatten(2)
    shared = tokens + by_hand(attention.proj, mixed)
    normed = block.norm2(shared)
    hidden = F.gelu(by_hand(mlp.fc1, normed))
    if task is None:
        return (shared + by_hand(mlp.fc2, hidden)).view(map_.shape)
    own = tokens + by_hand(attention.proj, mixed, task)
    own_hidden = F.gelu(by_hand(mlp.fc1, normed, task, block.norm2(own)))
    return (own + by_hand(mlp.fc2, hidden, task, own_hidden)).view(map_.shape)


def test_the_last_block_of_a_stage_is_the_formula() -> None:
    torch.manual_seed(0)
    block = AdaptedBlock(SwinBlock(8, 2, 7, shifted=True), (7, 7), RANKS, ("a", "b")).eval()
    for value in block.parameters():
        nn.init.normal_(value, std=0.3)
    assert block.attn_mask is None, "one window covers the map"
    map_ = torch.randn(3, 7, 7, 8)
    with torch.inference_mode():
        shared, maps = block.for_tasks(map_, ("b", "a"), common=True)
        torch.testing.assert_close(shared, straightforward(block, map_, None))
        torch.testing.assert_close(block(map_), shared)
        assert list(maps) == ["b", "a"]
        for task, own in maps.items():
            torch.testing.assert_close(own, straightforward(block, map_, task))


@pytest.mark.parametrize("plus", [False, True])
def test_products_merged_into_weights_change_nothing(plus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(tuple(SPECS), (112, 144), plus=plus)
    images = torch.randn(2, 3, 112, 144)
    with torch.inference_mode():
        merged = model(images)
        monkeypatch.setattr(AdaptedLinear, "forward", lambda layer, x: layer.linear(x) + layer.common(x))
        apart = model(images)
    for task, map_ in merged.items():
        torch.testing.assert_close(map_, apart[task], rtol=1e-4, atol=1e-5)


def test_unused_weights_are_those_that_no_prediction_depends_on() -> None:
    model = small(tuple(SPECS)).train()
    sum(map_.sum() for map_ in model(torch.randn(2, 3, *SIZE)).values()).backward()  # type: ignore[union-attr]
    idle = {name for name, value in model.named_parameters() if value.grad is None}
    last = "backbone.layers.3.blocks.1.mlp.fc2.lora_shared_"
    assert idle == {f"{last}A", f"{last}B"}
    assert model.unused == (last,)


@pytest.mark.parametrize("plus", [False, True], ids=["mtlora", "plus"])
def test_what_trains_is_factors_norms_biases_patches_merging_and_decoders(plus: bool) -> None:
    subject, model = method(plus=plus), small(plus=plus)
    prefixes = subject.trainable()
    frozen = {name for name, _ in model.named_parameters() if not name.startswith(prefixes)}
    assert frozen == {name for name, _ in model.named_parameters() if ".linear." in name}
    assert any("reduction.linear" in name for name in frozen) == plus
    for budget in ("quick", "full"):
        [stage] = subject.stages(model.problem, budget)  # type: ignore[arg-type]
        assert stage.trainable == prefixes


def test_tasks_that_are_not_asked_for_cost_nothing() -> None:
    model = small(tuple(SPECS))
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        everything = count_macs(lambda: model(images), model.parts())
        one = count_macs(lambda: model(images, ["depth"]), model.parts())
        torch.testing.assert_close(model(images, ["depth"])["depth"], model(images)["depth"])
    assert one.macs < everything.macs
    assert {part for part, macs in one.per_part.items() if macs} == {"encoder", "reduction/depth", "head/depth"}


def test_the_order_of_the_tasks_in_a_problem_changes_nothing() -> None:
    one, other = small(tuple(SPECS)), small(tuple(SPECS)[::-1])
    other.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        ours, theirs = one(images), other(images)
    assert all(torch.equal(map_, theirs[task]) for task, map_ in ours.items())
    assert ours["saliency"].shape[1] == 1


@pytest.mark.parametrize("size", [(75, 101), (32, 32), (112, 144)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    model = small(size=size)
    with torch.inference_mode():
        for task, map_ in model(torch.randn(1, 3, *size)).items():
            assert map_.shape == (1, model.problem.task(task).channels, *size)
            assert map_.isfinite().all()


def save_as_the_authors(problem: Problem, path: Path, size: tuple[int, int], **changes: Tensor) -> None:
    """Save weights in the reference's shapes, which are the formulas'."""
    tasks = {key_of(task.name): channels_of(task) for task in problem}
    config = SWINS["swin-micro"]
    stem = method().build(problem).backbone.patch_embed.state_dict()
    patch = {key: tuple(value.shape) for key, value in stem.items()}
    channels = (8, 16, 24, 32)
    shapes = formulas.mtlora(
        tasks, config.depths, config.heads, size, config.width, patch, channels, (8, 4), plus=False
    )
    state = {key: torch.full(shape, 0.01) for key, shape in shapes.items()}
    counters = [key.replace("running_mean", "num_batches_tracked") for key in state if key.endswith("running_mean")]
    state |= {key: torch.tensor(1) for key in counters} | changes
    around = {"optimizer": {"state": {}}, "lr_scheduler": {}, "max_accuracy": 0.5, "scaler": {"scale": 1.0}, "epoch": 9}
    torch.save({"model": state, **around}, path)


@pytest.mark.parametrize("size", [SIZE, (224, 224)], ids=["same-size", "other-size"])
@pytest.mark.parametrize("tasks", [("semseg", "normals", "saliency", "parts"), ("depth",), tuple(SPECS)], ids=len)
def test_a_checkpoint_in_the_references_shapes_is_loaded(
    tasks: tuple[str, ...], size: tuple[int, int], tmp_path: Path
) -> None:
    """Masks follow from the size of the images, so that a file of one size serves all."""
    problem = Problem(tuple(SPECS[task] for task in tasks), SIZE)
    save_as_the_authors(problem, tmp_path / "c.pth", size)
    model, notes = load_published(method(), problem, WeightFile(tmp_path / "c.pth"))
    assert all(value.eq(0.01).all() for value in model.parameters())
    mask = model.state_dict()["backbone.layers.0.blocks.1.attn_mask"]
    assert set(mask.unique().tolist()) == {0.0, -100.0}
    assert "ignored beside model: epoch, lr_scheduler, max_accuracy, optimizer, scaler" in notes[0]


@pytest.mark.parametrize("tasks", [("semseg",), ("semseg", "depth", "normals"), ("semseg", "normals")])
def test_a_checkpoint_of_other_tasks_is_refused_in_one_line(tasks: tuple[str, ...], tmp_path: Path) -> None:
    save_as_the_authors(small().problem, tmp_path / "c.pth", SIZE)
    problem = Problem(tuple(SPECS[task] for task in tasks), SIZE)
    with pytest.raises(UsageError, match="does not fit mtlora on swin-micro for semseg") as caught:
        load_published(method(), problem, WeightFile(tmp_path / "c.pth"))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_other_ranks_is_refused(tmp_path: Path) -> None:
    save_as_the_authors(small().problem, tmp_path / "c.pth", SIZE)
    with pytest.raises(UsageError, match="lora_shared_A"):
        load_published(method(shared_rank=4), small().problem, WeightFile(tmp_path / "c.pth"))


def test_pretrained_weights_of_the_encoder_are_kept(tmp_path: Path) -> None:
    encoder = build_backbone("swin-micro", SIZE)
    torch.save(encoder.state_dict(), tmp_path / "swin.pth")
    started = MTLoRA(MTLoRA.Options(), "swin-micro", WeightFile(tmp_path / "swin.pth")).build(small().problem)
    state = started.state_dict()
    for key, value in encoder.state_dict().items():
        adapted = key.replace("qkv.", "qkv.linear.").replace("fc1.", "fc1.linear.").replace("fc2.", "fc2.linear.")
        adapted = adapted.replace("attn.proj.", "attn.proj.linear.")
        if not key.startswith("norm"):
            assert torch.equal(state[f"backbone.{adapted}"], value), key


def test_full_training_is_the_published_recipe() -> None:
    [stage] = method("swin-t").stages(PASCAL, "full")
    stage = stage.sized(4998)
    assert (stage.iterations, stage.batch_size, stage.clip_norm) == (300 * 156, 32, 5.0)
    assert (stage.schedule.name, stage.schedule.warmup, stage.schedule.floor) == ("cosine", 20 * 156, 0.01)
    assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("adamw", 3.125e-5, 0.05)


def test_published_encoders_drop_paths_in_training() -> None:
    with torch.device("meta"):
        published = method("swin-t").build(PASCAL)
    rates = [getattr(layer, "drop_prob", 0.0) for layer in published.modules()]
    assert max(rates) == pytest.approx(0.2)
