"""TSP-Transformer: figures of the reference, prompts as published, and blocks that are run once for all tasks."""

from collections import OrderedDict
from pathlib import Path

import formulas
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.backbones.vit import as_map, embedded
from harness.baselines.common.tasks import key_of
from harness.baselines.tsp import TSP
from harness.baselines.tsp.model import PromptedInvPT
from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import load_published
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

NYUD = Problem((TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (448, 576))
PASCAL = Problem(
    (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary")),
    (512, 512),
)
SMALL = Problem((TaskSpec("depth"), TaskSpec("semseg", 5), TaskSpec("parts", 7)), (32, 48))


def method(backbone: str = "vit-micro", **options: object) -> TSP:
    return TSP(TSP.Options.model_validate(options), backbone)


def build(problem: Problem = SMALL, backbone: str = "vit-micro", **options: object) -> PromptedInvPT:
    torch.manual_seed(0)
    model = method(backbone, **options).build(problem).eval()
    for key in model.keys:
        torch.nn.init.normal_(model.backbone.get_parameter(key))
    return model


@pytest.mark.parametrize(
    ("problem", "parameters", "keys", "giga_macs"),
    [(NYUD, 402.339, 658, 1700.6), (PASCAL, 423.237, 732, 2163.4)],
    ids=["nyud", "pascal"],
)
def test_parameters_keys_and_macs_are_the_references(
    problem: Problem, parameters: float, keys: int, giga_macs: float
) -> None:
    """The reference runs the encoder and its skip connections per task, and a convolution that nothing reads."""
    with torch.device("meta"):
        model = method("vit-l16").build(problem).eval()
        images = torch.empty(1, 3, *problem.input_size)
    with torch.inference_mode():
        count = count_macs(lambda: model(images), model.parts())
    assert not count.unsupported
    assert set(count.per_part) == set(model.parts())
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert len(model.state_dict()) == keys

    tasks, (height, width) = len(problem.names), problem.input_size
    patches = height // 16 * (width // 16)
    embedding = patches * 3 * 16 * 16 * 1024
    first = 12 * (12 * (patches + 1) * 1024**2 + 2 * (patches + 1) ** 2 * 1024)  # blocks without prompts come first
    repeated = embedding + (first if "depth" in problem.names else 0) + count.per_part["skips"]
    dead = 1024 * 576 * 9 * patches
    assert (count.macs + (tasks - 1) * repeated + tasks * dead) / 1e9 == pytest.approx(giga_macs, rel=0.0001)


def alone(model: PromptedInvPT, task: int, images: Tensor) -> list[Tensor]:
    """Run the whole encoder for one task, as the paper describes it, and return the three maps of the decoder."""
    vit, prompts = model.backbone, model.backbone.get_parameter(model.keys[task])
    tokens = embedded(vit, images)
    maps, count = {}, tokens.shape[1]
    for number, block in enumerate(vit.blocks):
        if number in model.prompts.blocks:
            own = prompts[number - model.prompts.blocks.start].expand(len(images), -1, -1)
            tokens = torch.cat([tokens, own], dim=1)
        tokens = block(tokens)[:, :count]
        maps[number + 1] = as_map(vit, tokens)
    last = F.interpolate(as_map(vit, vit.norm(tokens)), size=model.size, mode="bilinear", align_corners=False)
    return [*(maps[number] for number in model.taps), last]


@pytest.mark.parametrize("batch", [1, 3])
def test_blocks_that_are_run_once_give_what_they_give_for_every_task(batch: int) -> None:
    """To the bit: the same blocks read the same tokens."""
    model = build(prompts="deep")
    images = torch.randn(batch, 3, *SMALL.input_size)
    with torch.inference_mode():
        fine, middle, last = model.features(images)
        for task in range(len(model.keys)):
            one, two, three = alone(model, task, images)
            assert torch.equal(fine, one)
            assert torch.equal(middle, two)
            torch.testing.assert_close(last[task], three)


@pytest.mark.parametrize(("options", "blocks"), [({"prompts": "shallow"}, [0, 1]), ({"prompt_layers": 1}, [1, 2, 3])])
def test_skip_connections_read_the_mean_over_the_tasks(options: dict[str, object], blocks: list[int]) -> None:
    model = build(**options)
    assert list(model.prompts.blocks) == blocks
    images = torch.randn(2, 3, *SMALL.input_size)
    with torch.inference_mode():
        maps = [alone(model, task, images) for task in range(len(model.keys))]
        fine, middle, last = model.features(images)
        for mean, each in zip((fine, middle), zip(*(own[:2] for own in maps), strict=True), strict=True):
            torch.testing.assert_close(mean, torch.stack(each).mean(0))
        for own, (*_, expected) in zip(last, maps, strict=True):
            torch.testing.assert_close(own, expected)


def test_prompts_are_deep_with_depth_and_shallow_without_unless_it_is_said() -> None:
    assert list(build(SMALL).prompts.blocks) == [2, 3]
    assert list(build(SMALL.only(["semseg", "parts"])).prompts.blocks) == [0, 1]
    assert list(build(SMALL, prompts="shallow").prompts.blocks) == [0, 1]
    with torch.device("meta"):
        published = [method("vit-l16").build(problem).prompts.blocks for problem in (NYUD, PASCAL)]
    assert published == [range(12, 24), range(12)]


@pytest.mark.parametrize("options", [{"prompt_layers": 4}, {"prompts": "shallow", "prompt_layers": 5}])
def test_prompts_beyond_the_encoder_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"prompt_layers=\d of an encoder of 4 blocks"):
        build(**options)


def test_prompts_begin_at_zero_and_learn() -> None:
    torch.manual_seed(0)
    model = method().build(SMALL)
    prompts = {key: model.backbone.get_parameter(key) for key in model.keys}
    assert list(prompts) == ["SPrompt_Tokens", "DPrompt_Tokens", "PPrompt_Tokens"]
    assert not any(value.any() for value in prompts.values())
    output = model.forward_train(torch.randn(1, 3, *SMALL.input_size))
    sum(map_.square().mean() for map_ in output.predictions.values()).backward()  # type: ignore[union-attr]
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith(model.unused)}
    assert all(value.grad is not None and value.grad.any() for value in prompts.values())


def test_a_task_has_maps_of_its_own_prompts() -> None:
    model = build()
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        *_, before = model.features(images)
        model.backbone.get_parameter("DPrompt_Tokens").add_(1)
        *_, after = model.features(images)
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, False, True]


def test_the_order_of_the_tasks_in_a_problem_changes_nothing() -> None:
    model = build()
    other = build(Problem(SMALL.tasks[::-1], SMALL.input_size))
    other.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        one, two = model(images), other(images)
    assert list(two) == list(reversed(one))
    for task, map_ in one.items():
        assert torch.equal(map_, two[task])


@pytest.mark.parametrize("tasks", [PASCAL.tasks, NYUD.tasks, PASCAL.tasks[:1]], ids=["pascal", "nyud", "one"])
def test_a_checkpoint_in_the_references_shapes_is_loaded(tasks: tuple[TaskSpec, ...], tmp_path: Path) -> None:
    """The shapes are the formulas', wrapped as the reference saves them: in parallel mode, beside the optimiser."""
    order = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
    outputs = {key_of(task.name): task.channels for task in sorted(tasks, key=lambda task: order.index(task.name))}
    shapes = formulas.tsp(outputs, formulas.vit(192, 12, tokens=4 * 6), 192, 48, 64, layers=6)
    state = OrderedDict((f"module.{key}", torch.full(shape, 0.01)) for key, shape in shapes.items())
    counters = [key.replace("running_mean", "num_batches_tracked") for key in state if key.endswith("running_mean")]
    state.update({key: torch.tensor(40_000) for key in counters})
    torch.save({"optimizer": {}, "scheduler": {}, "model": state, "epoch": 7, "iter_count": 40_001}, tmp_path / "c.pth")
    model, notes = load_published(method("vit-t16"), Problem(tasks, (64, 96)), WeightFile(tmp_path / "c.pth"))
    assert all(value.eq(0.01).all() for value in model.parameters())
    assert notes[0] == "checkpoint c.pth: ignored beside model: epoch, iter_count, optimizer, scheduler"


@pytest.mark.parametrize(
    "other",
    [SMALL.only(["depth", "semseg"]), Problem((*SMALL.tasks, TaskSpec("normals")), (32, 48))],
    ids=["fewer", "more"],
)
def test_a_checkpoint_of_other_tasks_is_refused_in_one_line(other: Problem, tmp_path: Path) -> None:
    torch.save({"model": build().state_dict()}, tmp_path / "c.pth")
    with pytest.raises(UsageError, match=r"c\.pth does not fit tsp on vit-micro for depth") as caught:
        load_published(method(), other, WeightFile(tmp_path / "c.pth"))
    assert "\n" not in str(caught.value)


def test_full_training_is_invpts_recipe() -> None:
    [stage] = method("vit-l16").stages(NYUD, "full")
    assert (stage.iterations, stage.batch_size, stage.optimizer.name, stage.optimizer.lr) == (40_000, 6, "adam", 2e-5)
